// A page of HTML that is one file: style inside, light and dark by the reader's setting, no
// scripts, no network.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isoflop {

/// For text and for attributes: & < > " ' become entities, control characters and bytes that are no
/// UTF-8 become U+FFFD (line ends and tabs stay).
std::string escaped(std::string_view text);

class Page {
 public:
  explicit Page(std::string_view title);

  void section(std::string_view heading);
  void paragraph(std::string_view text);
  /// `svg` as chart.hpp draws it; nothing for an empty one.
  void figure(std::string_view svg);
  /// Rows of text; the first is the head.
  void table(const std::vector<std::vector<std::string>>& rows);
  void preformatted(std::string_view text);
  /// Shown when it is opened.
  void folded(std::string_view summary, std::string_view text);
  std::string text() const;

 private:
  std::string body_;
};

}  // namespace isoflop
