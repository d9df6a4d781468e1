// One file, and the same bytes as the index of a folder.
#include "formats/safetensors.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <cstring>

namespace isoflop::fuzz {
namespace {

std::string file(const std::string& header, size_t data) {
  const uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data, 'x');
}

std::string entry(const char* name, const char* type, const char* shape, int begin, int end) {
  return std::string("\"") + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape +
         R"(,"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

constexpr char kIndex[] =
    R"({"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
    R"("b":"model-00002-of-00002.safetensors"}})";

std::vector<std::string> seeds() {
  return {
      file(R"({"__metadata__":{"format":"pt"},)" + entry("a", "F32", "[2,3]", 0, 24) + "," +
               entry("b", "BF16", "[4]", 24, 32) + "," + entry("c", "F16", "[]", 32, 34) + "}  ",
           34),
      file("{" + entry("b", "I64", "[1]", 4, 12) + "," + entry("a", "U8", "[0,4]", 0, 0) + "," +
               entry("d", "BOOL", "[4]", 0, 4) + "}",
           12),
      file("{}", 0), kIndex};
}

std::vector<std::string> refused() {
  const std::string a = entry("a", "F32", "[2]", 0, 8);
  return {file("{" + a + "}", 9),
          file("{" + a + "}", 7),
          file(" {" + a + "}", 8),
          file("{" + a + "," + a + "}", 8),
          file("{" + a + "," + entry("b", "F32", "[2]", 4, 12) + "}", 12),
          file("{" + a + "," + entry("b", "F32", "[2]", 9, 17) + "}", 17),
          file("{" + entry("a", "F33", "[2]", 0, 8) + "}", 8),
          file("{" + entry("a", "F32", "[3]", 0, 8) + "}", 8),
          file("{" + entry("a", "F32", "[4611686018427387904,4]", 0, 0) + "}", 0),
          file("{" + entry("a", "F32", "[[2]]", 0, 8) + "}", 8),
          file("{" + entry("a", "F32", "[-2]", 0, 8) + "}", 8),
          file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", 8),
          file(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
          file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8),
          file(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8),
          file(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8),
          file(R"({"__metadata__":{"a":{}}})", 0),
          R"({"weight_map":{"a":"../model.safetensors"}})",
          R"({"weight_map":{"a":"x/model.safetensors"}})",
          R"({"weight_map":{"a":".safetensors"}})",
          R"({"weight_map":{"a":"model.bin"}})",
          R"({"weight_map":{"a":"b.safetensors","a":"c.safetensors"}})",
          R"({"weight_map":{}})"};
}

void run(std::string_view input) {
  if (!input.empty() && input[0] == '{') {  // as a header's length: far too long for these seeds
    for (const auto& [tensor, name] : parse_safetensors_index(input, "fuzz"))
      if (name.find('/') != name.npos || name.find("..") == 0) found("a file outside the folder");
    return;
  }
  const SafetensorsFile read(bytes_of(input), "fuzz");
  size_t covered = 0;
  for (const SafetensorsTensor& tensor : read.tensors()) {
    if (read.find(tensor.name) != &tensor) found("a tensor that its name does not find");
    const std::byte* begin = bytes_of(input).data();
    if (tensor.data.data() < begin ||
        tensor.data.data() + tensor.data.size() > begin + input.size())
      found("a tensor outside the file");
    covered += tensor.data.size();
    if (!tensor.is_float()) continue;
    std::vector<float> values(static_cast<size_t>(tensor.count()));
    tensor.values(0, values);
  }
  if (covered > input.size()) found("tensors that overlap");
}

const Registered target({"safetensors",
                         seeds,
                         run,
                         {"formats/safetensors_read.cpp", "formats/json_events.hpp"},
                         refused});

}  // namespace
}  // namespace isoflop::fuzz
