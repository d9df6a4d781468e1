# Every outside library becomes one imported target here; nothing else in the build looks for one.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Protobuf REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)

add_library(isoflop_hdf5 INTERFACE)
add_library(isoflop::hdf5 ALIAS isoflop_hdf5)
target_include_directories(isoflop_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(isoflop_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

foreach(pair "xxhash:libxxhash" "pcre2:libpcre2-8" "tomlplusplus:tomlplusplus" "highway:libhwy"
             "cli11:CLI11" "httplib:cpp-httplib" "lzma:liblzma" "utf8proc:libutf8proc" "zlib:zlib" "zstd:libzstd")
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 name)
  list(GET pair 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
  add_library(isoflop::${name} ALIAS PkgConfig::${name})
endforeach()

# oneDNN's Debian build runs on OpenMP; we call it from our own threads and hold it to one thread each
# through omp_set_num_threads, so its runtime is linked by name (clang would otherwise bring its own).
find_path(ONEDNN_INCLUDE_DIR dnnl.h REQUIRED)
find_library(ONEDNN_LIBRARY dnnl REQUIRED)
file(GLOB gomp_dirs /usr/lib/gcc/*/*)
find_library(GOMP_LIBRARY NAMES gomp libgomp.so.1 PATHS ${gomp_dirs} REQUIRED)
add_library(isoflop_onednn INTERFACE)
add_library(isoflop::onednn ALIAS isoflop_onednn)
target_include_directories(isoflop_onednn SYSTEM INTERFACE ${ONEDNN_INCLUDE_DIR})
target_link_libraries(isoflop_onednn INTERFACE ${ONEDNN_LIBRARY} ${GOMP_LIBRARY})

# MPI is found or off: without it the program runs as one rank. -DISOFLOP_MPI=OFF does without.
set(ISOFLOP_MPI AUTO CACHE STRING "Ranks over MPI: AUTO, ON or OFF")
add_library(isoflop_mpi INTERFACE)
add_library(isoflop::mpi ALIAS isoflop_mpi)
if(NOT ISOFLOP_MPI STREQUAL "OFF")
  find_package(MPI COMPONENTS C)
  if(MPI_C_FOUND)
    target_include_directories(isoflop_mpi SYSTEM INTERFACE ${MPI_C_INCLUDE_DIRS})
    target_link_libraries(isoflop_mpi INTERFACE ${MPI_C_LIBRARIES})
    target_compile_definitions(isoflop_mpi INTERFACE ISOFLOP_MPI=1
      OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)  # the C interface only
  elseif(ISOFLOP_MPI STREQUAL "ON")
    message(FATAL_ERROR "ISOFLOP_MPI=ON, but no MPI was found; install libopenmpi-dev")
  endif()
endif()
if(MPI_C_FOUND AND NOT ISOFLOP_MPI STREQUAL "OFF")
  message(STATUS "isoflop: many ranks: MPI ${MPI_C_VERSION} (${MPI_C_LIBRARIES})")
else()
  message(STATUS "isoflop: many ranks: off (no MPI)")
endif()
