// Numbers as people read them, three significant digits: 18.4k tokens, 3.1G bytes, 1h12m.
#pragma once
#include <string>

namespace isoflop {

std::string human_count(double count);       // 950, 18.4k, 2.21M, 1.3B, 4.5T (thousands)
std::string human_bytes(double bytes);       // 512, 3.1G (K, M, G, T of 1024)
std::string human_duration(double seconds);  // 350ms, 42s, 3m05s, 1h12m, 2d04h
std::string human_rate(double value);        // learning rates: 5.4e-3

}  // namespace isoflop
