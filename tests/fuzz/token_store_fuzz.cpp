// Token stores of ours.
#include "core/file.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_tokens.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const uint64_t row : {0, 4}) {
    const std::string path = input_file("seed.h5", "");
    TokenStoreWriter writer(path, 300, row ? -1 : 0, 1);
    if (row) writer.set_row_tokens(row);
    for (int i = 0; i < 3; ++i) writer.add_document(std::vector<int32_t>{1, 2, 3, 299}, 4);
    writer.add_source({"a.txt", 12, 7});
    writer.finish();
    all.push_back(read_file(path));
  }
  return all;
}

void run(std::string_view bytes) {
  use_tokens(input_file("fuzz.h5", bytes));
}

const Registered target(
    {"token_store", seeds, run, {"datasets/token_store.cpp", "datasets/token_store_layout.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
