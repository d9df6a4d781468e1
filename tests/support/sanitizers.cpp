// What the sanitizers are told, in programs that are built with them.

extern "C" const char* __lsan_default_suppressions();

// HDF5 1.10.8 now and then keeps a few bytes of a damaged file.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5_serial\n";
}
