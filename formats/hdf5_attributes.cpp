#include "formats/hdf5_internal.hpp"

#include <algorithm>
#include <filesystem>

namespace isoflop::hdf5 {

namespace {
constexpr uint64_t kMaxAttributeBytes = 60 << 10;  // the library keeps attributes in 64 KB headers
constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;
}  // namespace

// Fixed-length UTF-8, padded with zeros; the library has no strings of length 0.
static Handle string_type(uint64_t bytes) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  ISOFLOP_CHECK(type >= 0 && H5Tset_size(type, std::max<uint64_t>(bytes, 1)) >= 0 &&
                    H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
                    H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0,
                "H5Tcopy: {}", library_error());
  return type;
}

static std::string padded(std::string_view text) {
  return std::string(text.empty() ? std::string_view("\0", 1) : text);
}

static void trim_padding(std::string& text) {
  const size_t last = text.find_last_not_of('\0');
  text.resize(last == std::string::npos ? 0 : last + 1);
}

void File::write_text(const std::string& name, std::string_view text) {
  const Lock lock;
  const Handle type = string_type(text.size());
  const Handle links = link_properties();
  const Handle properties = contiguous_properties();
  const Handle space(check(H5Screate(H5S_SCALAR), "H5Screate", name), H5Sclose);
  Handle dataset(
      check(H5Dcreate2(handle_, name.c_str(), type, space, links, properties, H5P_DEFAULT),
            "H5Dcreate2", name),
      H5Dclose);
  check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded(text).data()), "H5Dwrite",
        name);
  check(dataset.close(), "H5Dclose", name);
}

std::string File::read_text(const std::string& name) const {
  const Lock lock;
  require_plain_path(name);
  const Handle dataset(check(H5Dopen2(handle_, name.c_str(), H5P_DEFAULT), "H5Dopen2", name),
                       H5Dclose);
  const Handle type(check(H5Dget_type(dataset), "H5Dget_type", name), H5Tclose);
  const Handle space(check(H5Dget_space(dataset), "H5Dget_space", name), H5Sclose);
  const Handle properties(check(H5Dget_create_plist(dataset), "H5Dget_create_plist", name),
                          H5Pclose);
  const uint64_t bytes = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
      H5Sget_simple_extent_npoints(space) != 1 || H5Pget_layout(properties) != H5D_CONTIGUOUS ||
      H5Pget_external_count(properties) != 0)
    fail_format("{}: {} is not one fixed-length string", path_.string(), name);
  if (bytes > std::min<uint64_t>(kMaxTextBytes, std::filesystem::file_size(path_)))
    fail_format("{}: {} claims {} bytes, more than can be", path_.string(), name, bytes);
  std::string text(bytes, '\0');
  const Handle memory = string_type(bytes);
  check(H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "H5Dread", name);
  trim_padding(text);
  return text;
}

static std::string attribute_name(const std::string& object, const std::string& name) {
  return fmt::format("attribute {} of {}", name, object);
}

void File::write_attribute(const std::string& object,
                           const std::string& name,
                           int64_t type,
                           const void* data,
                           std::optional<uint64_t> count) {
  const std::string what = attribute_name(object, name);
  ISOFLOP_CHECK(count.value_or(1) * H5Tget_size(type) <= kMaxAttributeBytes,
                "{} is too large for an attribute; use a dataset", what);
  const hsize_t dims[1] = {count.value_or(1)};
  const Handle space(
      check(count ? H5Screate_simple(1, dims, nullptr) : H5Screate(H5S_SCALAR), "H5Screate", what),
      H5Sclose);
  Handle attribute(check(H5Acreate_by_name(handle_, object.c_str(), name.c_str(), type, space,
                                           H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         "H5Acreate_by_name", what),
                   H5Aclose);
  check(H5Awrite(attribute, type, data), "H5Awrite", what);
  check(attribute.close(), "H5Aclose", what);
}

void File::set_attribute(const std::string& object,
                         const std::string& name,
                         std::string_view value) {
  const Lock lock;
  const Handle type = string_type(value.size());
  write_attribute(object, name, type, padded(value).data(), std::nullopt);
}
void File::set_attribute(const std::string& object, const std::string& name, uint64_t value) {
  const Lock lock;
  write_attribute(object, name, file_type(Type::u64), &value, std::nullopt);
}
void File::set_attribute(const std::string& object, const std::string& name, int64_t value) {
  const Lock lock;
  write_attribute(object, name, file_type(Type::i64), &value, std::nullopt);
}
void File::set_attribute(const std::string& object, const std::string& name, double value) {
  const Lock lock;
  write_attribute(object, name, file_type(Type::f64), &value, std::nullopt);
}
void File::set_attribute(const std::string& object,
                         const std::string& name,
                         std::span<const uint64_t> values) {
  const Lock lock;
  write_attribute(object, name, file_type(Type::u64), values.data(), values.size());
}

bool File::has_attribute(const std::string& object, const std::string& name) const {
  const Lock lock;
  require_plain_path(object);
  return H5Aexists_by_name(handle_, object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

void File::read_attribute(const std::string& object,
                          const std::string& name,
                          const AttributeReader& read) const {
  const Lock lock;
  require_plain_path(object);
  const std::string what = attribute_name(object, name);
  const Handle attribute(
      check(H5Aopen_by_name(handle_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
            "H5Aopen_by_name", what),
      H5Aclose);
  const Handle type(check(H5Aget_type(attribute), "H5Aget_type", what), H5Tclose);
  const Handle space(check(H5Aget_space(attribute), "H5Aget_space", what), H5Sclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  if (count < 1 || count > 1 << 16 || H5Tget_size(type) > 1 << 16)
    fail_format("{}: {} has an impossible size", path_.string(), what);
  read(attribute, type, static_cast<uint64_t>(count));
}

std::string File::string_attribute(const std::string& object, const std::string& name) const {
  std::string text;
  const std::string what = attribute_name(object, name);
  read_attribute(object, name, [&](int64_t attribute, int64_t type, uint64_t count) {
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || count != 1)
      fail_format("{}: {} is not one fixed-length string", path_.string(), what);
    text.resize(H5Tget_size(type));
    const Handle memory = string_type(text.size());
    check(H5Aread(attribute, memory, text.data()), "H5Aread", what);
  });
  trim_padding(text);
  return text;
}

// Integers of any width and sign are accepted as long as the values fit.
std::vector<uint64_t> File::u64s_attribute(const std::string& object,
                                           const std::string& name) const {
  std::vector<uint64_t> values;
  const std::string what = attribute_name(object, name);
  read_attribute(object, name, [&](int64_t attribute, int64_t type, uint64_t count) {
    if (H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) > 8)
      fail_format("{}: {} is not an integer", path_.string(), what);
    const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    values.resize(count);
    check(H5Aread(attribute, is_signed ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, values.data()),
          "H5Aread", what);
    if (is_signed && std::any_of(values.begin(), values.end(), [](uint64_t v) { return v >> 63; }))
      fail_format("{}: {} is negative", path_.string(), what);
  });
  return values;
}

uint64_t File::u64_attribute(const std::string& object, const std::string& name) const {
  const std::vector<uint64_t> values = u64s_attribute(object, name);
  if (values.size() != 1)
    fail_format("{}: {} has {} values instead of one", path_.string(), attribute_name(object, name),
                values.size());
  return values[0];
}

int64_t File::i64_attribute(const std::string& object, const std::string& name) const {
  int64_t value = 0;
  const std::string what = attribute_name(object, name);
  read_attribute(object, name, [&](int64_t attribute, int64_t type, uint64_t count) {
    if (H5Tget_class(type) != H5T_INTEGER || H5Tget_size(type) > 8 || count != 1)
      fail_format("{}: {} is not one integer", path_.string(), what);
    check(H5Aread(attribute, H5T_NATIVE_INT64, &value), "H5Aread", what);
  });
  return value;
}

double File::f64_attribute(const std::string& object, const std::string& name) const {
  double value = 0;
  const std::string what = attribute_name(object, name);
  read_attribute(object, name, [&](int64_t attribute, int64_t type, uint64_t count) {
    if (H5Tget_class(type) != H5T_FLOAT || count != 1)
      fail_format("{}: {} is not one floating-point number", path_.string(), what);
    check(H5Aread(attribute, H5T_NATIVE_DOUBLE, &value), "H5Aread", what);
  });
  return value;
}

}  // namespace isoflop::hdf5
