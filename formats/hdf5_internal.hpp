// What hdf5.cpp and hdf5_attributes.cpp share: the lock, identifiers that close themselves, types.
#pragma once
#include "core/error.hpp"
#include "formats/hdf5.hpp"

#include <hdf5.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <string>
#include <utility>

namespace isoflop::hdf5 {

static_assert(sizeof(hid_t) == sizeof(int64_t), "the header stores handles as int64_t");
static_assert(std::endian::native == std::endian::little, "memory and file share their layout");

inline std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

// Held around every use of the library. Thread-safe builds of the library keep one error stack per
// thread, each of which prints by default, so printing is turned off here and not once.
class Lock {
 public:
  Lock() : guard_(library_mutex()) {
    // A file whose closing failed (full disk) stays half closed inside the library, whose own
    // clean-up at exit would crash on it. Writers close what they made, so none is needed.
    static const herr_t no_clean_up_at_exit = H5dont_atexit();
    (void)no_clean_up_at_exit;
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }

 private:
  std::lock_guard<std::recursive_mutex> guard_;
};

// Closes an identifier of the library at scope end; close() where its result matters.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close closer) : id_(id), close_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }  // NOLINT: it stands for the identifier
  herr_t close() { return close_(std::exchange(id_, -1)); }

 private:
  hid_t id_;
  Close close_;
};

// The innermost message on the library's error stack: the cause ("file write failed: ... No space
// left").
inline std::string library_error() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
        if (depth == 0 && error->desc) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &text);
  return text.empty() ? "no reason given" : text;
}

inline hid_t file_type(Type type) {
  switch (type) {
    case Type::u8:
      return H5T_STD_U8LE;
    case Type::u16:
      return H5T_STD_U16LE;
    case Type::u32:
      return H5T_STD_U32LE;
    case Type::u64:
      return H5T_STD_U64LE;
    case Type::i32:
      return H5T_STD_I32LE;
    case Type::i64:
      return H5T_STD_I64LE;
    case Type::f32:
      return H5T_IEEE_F32LE;
    case Type::f64:
      return H5T_IEEE_F64LE;
  }
  ISOFLOP_CHECK(false, "type {}", static_cast<int>(type));
}

inline Handle link_properties() {
  Handle properties(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  ISOFLOP_CHECK(properties >= 0 && H5Pset_create_intermediate_group(properties, 1) >= 0,
                "H5Pcreate: {}", library_error());
  return properties;
}

// Without time stamps: equal content gives equal bytes.
inline Handle dataset_properties() {
  Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  ISOFLOP_CHECK(properties >= 0 && H5Pset_obj_track_times(properties, false) >= 0, "H5Pcreate: {}",
                library_error());
  return properties;
}

// Space is reserved at once and never filled, so the offset is known before the first write.
inline Handle contiguous_properties() {
  Handle properties = dataset_properties();
  ISOFLOP_CHECK(H5Pset_layout(properties, H5D_CONTIGUOUS) >= 0 &&
                    H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) >= 0 &&
                    H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) >= 0,
                "H5Pset_layout: {}", library_error());
  return properties;
}

}  // namespace isoflop::hdf5
