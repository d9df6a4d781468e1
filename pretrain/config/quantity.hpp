// Quantities as people write them. UserError names `what` and lists the accepted forms.
#pragma once
#include <string>
#include <string_view>

namespace isoflop {

/// Tokens: "2.2e9", "2.2Gtok", "375Mtok", "16ktok", "1.5Ttok", "900tok". Decimal units, > 0.
double parse_tokens(std::string_view text, const std::string& what);

/// Seconds: "90s", "30m", "2h", "1d", "1h30m". > 0.
double parse_seconds(std::string_view text, const std::string& what);

/// A leading number in `text`, removed from it; false when there is none or it is not finite.
bool take_number(std::string_view& text, double& number);

}  // namespace isoflop
