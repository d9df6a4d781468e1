#include "formats/hdf5.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/math.hpp"
#include "formats/hdf5_internal.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

namespace isoflop::hdf5 {

namespace {

constexpr std::array kTypes = {Type::u8,  Type::u16, Type::u32, Type::u64,
                               Type::i32, Type::i64, Type::f32, Type::f64};

std::vector<hsize_t> to_hsize(std::span<const uint64_t> shape) {
  return {shape.begin(), shape.end()};
}

}  // namespace

size_t size_of(Type type) {
  switch (type) {
    case Type::u8:
      return 1;
    case Type::u16:
      return 2;
    case Type::u32:
    case Type::i32:
    case Type::f32:
      return 4;
    default:
      return 8;
  }
}

std::string_view name_of(Type type) {
  constexpr std::string_view kNames[] = {"u8", "u16", "u32", "u64", "i32", "i64", "f32", "f64"};
  return kNames[static_cast<size_t>(type)];
}

// ---- file

File::File(std::filesystem::path file_path, int64_t handle, bool writing)
    : path_(std::move(file_path)), handle_(handle), writing_(writing) {}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)),
      handle_(std::exchange(other.handle_, -1)),
      writing_(other.writing_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(handle_, other.handle_);
  std::swap(writing_, other.writing_);
  return *this;
}

File::~File() {
  if (handle_ < 0) return;
  const Lock lock;
  H5Fclose(handle_);
}

int64_t File::check(int64_t result, const char* call, const std::string& object) const {
  if (result >= 0) return result;
  const std::string reason = library_error();
  if (writing_) fail_io("cannot write {} in {}: {}: {}", object, path_.string(), call, reason);
  fail_format("{}: {} is missing or damaged: {}: {}", path_.string(), object, call, reason);
}

// Files count only once they are renamed into place, so the library's own file locks would only get
// in the way on file systems that have none.
static Handle access_properties() {
  Handle properties(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  ISOFLOP_CHECK(
      properties >= 0 && H5Pset_file_locking(properties, false, true) >= 0 &&
          H5Pset_alignment(properties, 4096, 4096) >= 0,  // large datasets on page borders
      "H5Pcreate: {}", library_error());
  return properties;
}

File File::create(const std::filesystem::path& path, uint64_t user_bytes) {
  const Lock lock;
  const Handle access = access_properties();
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  ISOFLOP_CHECK(creation >= 0 && H5Pset_userblock(creation, user_bytes) >= 0,
                "H5Pset_userblock: {}", library_error());
  const hid_t handle = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access);
  if (handle < 0) fail_io("cannot create {}: H5Fcreate: {}", path.string(), library_error());
  return File(path, handle, true);
}

bool File::has_signature(const std::filesystem::path& path) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::string start(4096 + kSignature.size(), '\0');
  std::ifstream(path, std::ios::binary)
      .read(start.data(), static_cast<std::streamsize>(start.size()));
  return start.starts_with(kSignature) || start.ends_with(kSignature);
}

File File::open(const std::filesystem::path& path) {
  (void)MappedFile(path);  // says why when there is no readable file
  const Lock lock;
  const Handle access = access_properties();
  const hid_t handle = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (handle < 0)
    fail_format("{} is not an HDF5 file, or is cut off or damaged: H5Fopen: {}", path.string(),
                library_error());
  return File(path, handle, false);
}

void File::close() {
  if (handle_ < 0) return;
  const Lock lock;
  if (writing_) check(H5Fflush(handle_, H5F_SCOPE_GLOBAL), "H5Fflush", "the end of the file");
  check(H5Fclose(std::exchange(handle_, -1)), "H5Fclose", "the end of the file");
}

// ---- objects

// A link could lead out of the file (an external link opens any path); ours have hard links only.
void File::require_plain_path(const std::string& object) const {
  ISOFLOP_CHECK(object.starts_with('/'), "{}: object names start with /", object);
  for (size_t end = object.find('/', 1); object.size() > 1; end = object.find('/', end + 1)) {
    const std::string part = object.substr(0, end);
    H5L_info_t link = {};
    check(H5Lget_info(handle_, part.c_str(), &link, H5P_DEFAULT), "H5Lget_info", object);
    if (link.type != H5L_TYPE_HARD) fail_format("{}: {} is a link", path_.string(), part);
    if (end == std::string::npos) return;
  }
}

bool File::exists(const std::string& object) const {
  const Lock lock;
  if (object == "/") return true;
  for (size_t end = object.find('/', 1);; end = object.find('/', end + 1)) {
    if (H5Lexists(handle_, object.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
    if (end == std::string::npos) return true;
  }
}

std::vector<std::string> File::children(const std::string& group) const {
  const Lock lock;
  require_plain_path(group);
  const Handle handle(check(H5Gopen2(handle_, group.c_str(), H5P_DEFAULT), "H5Gopen2", group),
                      H5Gclose);
  std::vector<std::string> names;
  hsize_t position = 0;
  check(H5Literate(
            handle, H5_INDEX_NAME, H5_ITER_INC, &position,
            [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
              static_cast<std::vector<std::string>*>(out)->emplace_back(name);
              return 0;
            },
            &names),
        "H5Literate", group);
  std::sort(names.begin(), names.end());
  return names;
}

void File::create_group(const std::string& group) {
  const Lock lock;
  const Handle links = link_properties();
  Handle handle(check(H5Gcreate2(handle_, group.c_str(), links, H5P_DEFAULT, H5P_DEFAULT),
                      "H5Gcreate2", group),
                H5Gclose);
  check(handle.close(), "H5Gclose", group);
}

void File::create_dataset(const std::string& name, Type type, std::span<const uint64_t> shape) {
  ISOFLOP_CHECK(shape.size() == 1 || shape.size() == 2, "{}: {} dimensions", name, shape.size());
  const Lock lock;
  const Handle links = link_properties();
  const Handle properties = contiguous_properties();
  const std::vector<hsize_t> dims = to_hsize(shape);
  const Handle space(check(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                           "H5Screate_simple", name),
                     H5Sclose);
  Handle dataset(check(H5Dcreate2(handle_, name.c_str(), file_type(type), space, links, properties,
                                  H5P_DEFAULT),
                       "H5Dcreate2", name),
                 H5Dclose);
  check(dataset.close(), "H5Dclose", name);
}

void File::create_virtual_dataset(const std::string& name,
                                  Type type,
                                  std::span<const uint64_t> shape,
                                  std::span<const VirtualPiece> pieces) {
  ISOFLOP_CHECK(shape.size() == 1 || shape.size() == 2, "{}: {} dimensions", name, shape.size());
  const Lock lock;
  const Handle links = link_properties();
  const Handle properties = dataset_properties();
  const std::vector<hsize_t> dims = to_hsize(shape);
  const int rank = static_cast<int>(dims.size());
  const Handle space(check(H5Screate_simple(rank, dims.data(), nullptr), "H5Screate_simple", name),
                     H5Sclose);
  for (const VirtualPiece& piece : pieces) {
    const std::vector<hsize_t> stored = to_hsize(piece.source_shape);
    ISOFLOP_CHECK(stored.size() == dims.size() && piece.first_row + piece.rows <= dims[0] &&
                      piece.source_row + piece.rows <= stored[0] &&
                      (rank == 1 || piece.first_col + stored[1] <= dims[1]),
                  "{}: the piece from {} does not fit", name, piece.file);
    std::vector<hsize_t> count = stored;
    count[0] = piece.rows;
    const std::vector<hsize_t> start = {piece.first_row, piece.first_col};
    const std::vector<hsize_t> source_start = {piece.source_row, 0};
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "H5Sselect_hyperslab", name);
    const Handle source(
        check(H5Screate_simple(rank, stored.data(), nullptr), "H5Screate_simple", name), H5Sclose);
    check(H5Sselect_hyperslab(source, H5S_SELECT_SET, source_start.data(), nullptr, count.data(),
                              nullptr),
          "H5Sselect_hyperslab", name);
    check(H5Pset_virtual(properties, space, piece.file.c_str(), piece.dataset.c_str(), source),
          "H5Pset_virtual", name);
  }
  check(H5Sselect_all(space), "H5Sselect_all", name);
  Handle dataset(check(H5Dcreate2(handle_, name.c_str(), file_type(type), space, links, properties,
                                  H5P_DEFAULT),
                       "H5Dcreate2", name),
                 H5Dclose);
  check(dataset.close(), "H5Dclose", name);
}

DatasetInfo File::info(const std::string& name) const {
  const Lock lock;
  require_plain_path(name);
  const Handle dataset(check(H5Dopen2(handle_, name.c_str(), H5P_DEFAULT), "H5Dopen2", name),
                       H5Dclose);
  const auto refuse = [&](const std::string& what) {
    fail_format("{}: {} {}", path_.string(), name, what);
  };
  DatasetInfo info;
  const Handle stored(check(H5Dget_type(dataset), "H5Dget_type", name), H5Tclose);
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](Type t) { return H5Tequal(stored, file_type(t)) > 0; });
  if (type == kTypes.end())
    refuse("has an element type we do not read (little-endian integers and floats only)");
  info.type = *type;

  const Handle space(check(H5Dget_space(dataset), "H5Dget_space", name), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 1 || rank > 2) refuse("has neither one nor two dimensions");
  hsize_t dims[2] = {0, 1};
  check(H5Sget_simple_extent_dims(space, dims, nullptr), "H5Sget_simple_extent_dims", name);
  info.shape.assign(dims, dims + rank);
  info.row_elements = rank == 2 ? dims[1] : 1;
  uint64_t bytes = 0;
  if (!checked_multiply(dims[0], info.row_elements, info.elements) ||
      !checked_multiply(info.elements, size_of(info.type), bytes))
    refuse("has an impossible shape");

  const Handle properties(check(H5Dget_create_plist(dataset), "H5Dget_create_plist", name),
                          H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties);
  if (layout == H5D_VIRTUAL) return info;
  if (layout != H5D_CONTIGUOUS || H5Pget_external_count(properties) != 0)
    refuse(
        "is not stored in one piece (contiguous and uncompressed); rewrite the file without "
        "chunks");
  if (bytes == 0) return info;
  info.offset = H5Dget_offset(dataset);
  uint64_t end = 0;
  if (*info.offset == HADDR_UNDEF || !checked_add(*info.offset, bytes, end) ||
      end > std::filesystem::file_size(path_))
    refuse(fmt::format("of {} bytes does not lie within the file; the file is cut off or damaged",
                       bytes));
  return info;
}

void File::write_elements(
    const std::string& name, Type type, uint64_t first_row, const void* data, uint64_t elements) {
  if (elements == 0) return;
  const Lock lock;
  Handle dataset(check(H5Dopen2(handle_, name.c_str(), H5P_DEFAULT), "H5Dopen2", name), H5Dclose);
  const Handle space(check(H5Dget_space(dataset), "H5Dget_space", name), H5Sclose);
  hsize_t dims[2] = {0, 1};
  const int rank = H5Sget_simple_extent_ndims(space);
  ISOFLOP_CHECK(rank == 1 || rank == 2, "{}: {} dimensions", name, rank);
  check(H5Sget_simple_extent_dims(space, dims, nullptr), "H5Sget_simple_extent_dims", name);
  const hsize_t row = rank == 2 ? dims[1] : 1;
  ISOFLOP_CHECK(elements % row == 0 && first_row + elements / row <= dims[0],
                "{}: {} elements at row {} of {} x {}", name, elements, first_row, dims[0], row);
  const hsize_t start[2] = {first_row, 0}, count[2] = {elements / row, row};
  check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr),
        "H5Sselect_hyperslab", name);
  const Handle memory(check(H5Screate_simple(rank, count, nullptr), "H5Screate_simple", name),
                      H5Sclose);
  fault_point("write");
  check(H5Dwrite(dataset, file_type(type), memory, space, H5P_DEFAULT, data), "H5Dwrite", name);
  check(dataset.close(), "H5Dclose", name);
}

uint64_t File::checked_elements(const std::string& name, Type type, uint64_t max_elements) const {
  const DatasetInfo found = info(name);
  if (found.type != type)
    fail_format("{}: {} holds {}, expected {}", path_.string(), name, name_of(found.type),
                name_of(type));
  if (found.elements > max_elements)
    fail_format("{}: {} has {} elements, at most {} are possible", path_.string(), name,
                found.elements, max_elements);
  return found.elements;
}

void File::read_elements(
    const std::string& name, Type type, uint64_t first_row, void* out, uint64_t elements) const {
  const Lock lock;
  const DatasetInfo found = info(name);
  if (found.type != type)
    fail_format("{}: {} holds {}, expected {}", path_.string(), name, name_of(found.type),
                name_of(type));
  if (elements == 0) return;
  const uint64_t row = found.row_elements;
  ISOFLOP_CHECK(row > 0 && elements % row == 0, "{}: {} elements are not whole rows", name,
                elements);
  if (first_row > found.shape[0] || elements / row > found.shape[0] - first_row)
    fail_format("{}: {} has {} rows, rows {} to {} were asked for", path_.string(), name,
                found.shape[0], first_row, first_row + elements / row);
  const Handle dataset(check(H5Dopen2(handle_, name.c_str(), H5P_DEFAULT), "H5Dopen2", name),
                       H5Dclose);
  const Handle space(check(H5Dget_space(dataset), "H5Dget_space", name), H5Sclose);
  const hsize_t start[2] = {first_row, 0}, count[2] = {elements / row, row};
  check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr),
        "H5Sselect_hyperslab", name);
  const int rank = static_cast<int>(found.shape.size());
  const Handle memory(check(H5Screate_simple(rank, count, nullptr), "H5Screate_simple", name),
                      H5Sclose);
  check(H5Dread(dataset, file_type(type), memory, space, H5P_DEFAULT, out), "H5Dread", name);
}

}  // namespace isoflop::hdf5
