// What the sanitizers are told, in programs that are built with them.

extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions();

// HDF5 1.10.8 now and then keeps a few bytes of a damaged file, and gives up the memory of a file
// that it could not close, as on a full disk.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5\n";
}

// Open MPI 4.1's transports, TCP and shared memory, take two of their own locks in one order at one
// time and in the other at another.
extern "C" const char* __tsan_default_suppressions() {
  return "deadlock:mca_btl_tcp.so\ndeadlock:mca_btl_vader.so\n";
}
