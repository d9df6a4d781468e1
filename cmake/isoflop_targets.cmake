# Flags of our own code, and the two functions that make a folder a library and its tests a program.
add_library(isoflop_flags INTERFACE)
target_compile_options(isoflop_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Werror
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>  # false on "a" + string (GCC bug 105651)
  -ffp-contract=off)  # quantizers and optimizer must give the same bits on every build
target_include_directories(isoflop_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
target_compile_definitions(isoflop_flags INTERFACE ISOFLOP_VERSION="${PROJECT_VERSION}")
if(ISOFLOP_SANITIZE)
  target_compile_options(isoflop_flags INTERFACE -fsanitize=${ISOFLOP_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(isoflop_flags INTERFACE -fsanitize=${ISOFLOP_SANITIZE})
endif()
if(ISOFLOP_FUZZ)
  target_compile_options(isoflop_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Parses once what nearly every file of a target reads, half of a small file's time. Only with sanitizers: the
# usual build would no longer notice an include that is missing, and g++ 12 warns of strings that are none of ours.
function(isoflop_precompile target)
  if(NOT ISOFLOP_SANITIZE)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE <algorithm> <chrono> <cmath> <filesystem> <functional> <map> <memory>
    <mutex> <optional> <set> <span> <string> <string_view> <thread> <unordered_map> <vector>
    <fmt/format.h> <fmt/chrono.h> <nlohmann/json.hpp> ${ARGN})
endfunction()

# isoflop_library(folder LINK target... [PROTO file.proto])
function(isoflop_library folder)
  cmake_parse_arguments(arg "" "PROTO" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cpp)
  list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/launch/main.cpp)
  set(links "")
  foreach(target ${arg_LINK})
    if(TARGET isoflop_${target})
      list(APPEND links isoflop_${target})
    else()
      list(APPEND links ${target})
    endif()
  endforeach()
  if(sources)
    add_library(isoflop_${folder} STATIC ${sources})
    target_link_libraries(isoflop_${folder} PUBLIC isoflop_flags ${links})
    isoflop_precompile(isoflop_${folder})
  else()
    add_library(isoflop_${folder} INTERFACE)
    target_link_libraries(isoflop_${folder} INTERFACE isoflop_flags ${links})
  endif()
  if(arg_PROTO AND EXISTS ${PROJECT_SOURCE_DIR}/${arg_PROTO})
    isoflop_proto(isoflop_${folder} ${arg_PROTO})
  endif()
endfunction()

# Compiles a .proto into its own library, free of our warning flags.
function(isoflop_proto target proto)
  get_filename_component(name ${proto} NAME_WE)
  get_filename_component(dir ${proto} DIRECTORY)
  set(out ${PROJECT_BINARY_DIR}/generated/${dir})
  file(MAKE_DIRECTORY ${out})
  add_custom_command(
    OUTPUT ${out}/${name}.pb.cc ${out}/${name}.pb.h
    COMMAND protobuf::protoc --cpp_out=${PROJECT_BINARY_DIR}/generated -I ${PROJECT_SOURCE_DIR}
            ${PROJECT_SOURCE_DIR}/${proto}
    DEPENDS ${PROJECT_SOURCE_DIR}/${proto})
  add_library(${target}_proto STATIC ${out}/${name}.pb.cc)
  target_include_directories(${target}_proto SYSTEM PUBLIC ${PROJECT_BINARY_DIR}/generated)
  target_link_libraries(${target}_proto PUBLIC protobuf::libprotobuf)
  target_link_libraries(${target} PRIVATE ${target}_proto)
  add_dependencies(${target} ${target}_proto)
endfunction()

# isoflop_tests(folder LINK target... [COUNT_ALLOCATIONS] [SERIAL]): every tests/<folder>/*_test.cpp in one program,
# with operators new and delete that count where asked for. SERIAL: whole runs, one at a time.
# A test whose name contains "Slow" gets the label slow; scripts/test runs both, `ctest -LE slow` the fast set.
function(isoflop_tests folder)
  cmake_parse_arguments(arg "COUNT_ALLOCATIONS;SERIAL" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  if(arg_COUNT_ALLOCATIONS)
    list(APPEND sources ${PROJECT_SOURCE_DIR}/tests/support/allocation_count.cpp)
  endif()
  if(ISOFLOP_SANITIZE)
    list(APPEND sources ${PROJECT_SOURCE_DIR}/tests/support/sanitizers.cpp)
  endif()
  add_executable(test_${folder} ${sources})
  target_link_libraries(test_${folder} PRIVATE ${arg_LINK} isoflop_test_support GTest::gtest_main)
  # What is tested lies in the libraries: a third less of the time that the tests take to compile.
  target_compile_options(test_${folder} PRIVATE $<$<CONFIG:Release>:-O1>)
  isoflop_precompile(test_${folder} <gtest/gtest.h>)
  gtest_discover_tests(test_${folder} TEST_FILTER "-*Slow*" DISCOVERY_TIMEOUT 120
    PROPERTIES LABELS "fast;${folder}" TIMEOUT 300 RUN_SERIAL ${arg_SERIAL})
  gtest_discover_tests(test_${folder} TEST_FILTER "*Slow*" TEST_SUFFIX ".slow" DISCOVERY_TIMEOUT 120
    TEST_LIST test_${folder}_SLOW PROPERTIES LABELS "slow;${folder}" TIMEOUT 1800 RUN_SERIAL ${arg_SERIAL})
endfunction()

# isoflop_rank_tests(target [SLOW] RANKS n... FILTER gtest-filter [NAME what]): the tests again under mpirun, every rank a process.
# As root, with more ranks than cores, beside other programs: so nothing is bound, and waiting ranks yield.
function(isoflop_rank_tests target)
  cmake_parse_arguments(arg "SLOW" "FILTER;NAME" "RANKS" ${ARGN})
  set(speed fast)
  if(arg_SLOW)
    set(speed slow)
  endif()
  find_program(ISOFLOP_MPIRUN mpirun)
  foreach(ranks ${arg_RANKS})
    set(name ${target}.${arg_NAME}mpi-${ranks})
    if(ISOFLOP_MPIRUN AND MPI_C_FOUND)
      add_test(NAME ${name} COMMAND ${ISOFLOP_MPIRUN} --timeout 600 -n ${ranks}
        $<TARGET_FILE:${target}> --gtest_filter=${arg_FILTER} --gtest_brief=1)
    else()
      add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: no MPI, or no mpirun (scripts/setup)")
    endif()
    set_tests_properties(${name} PROPERTIES LABELS "${speed};ranks" TIMEOUT 660 RUN_SERIAL ON
      SKIP_REGULAR_EXPRESSION "^skipped: no MPI"
      # Open MPI itself leaks at exit, which is not ours to report.
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_mpi_yield_when_idle=1;\
OMPI_MCA_hwloc_base_binding_policy=none;OMPI_MCA_rmaps_base_oversubscribe=1;ASAN_OPTIONS=detect_leaks=0")
  endforeach()
endfunction()

# isoflop_tcp_rank_tests(target RANKS n... FILTER gtest-filter): the same without MPI.
function(isoflop_tcp_rank_tests target)
  cmake_parse_arguments(arg "" "FILTER" "RANKS" ${ARGN})
  foreach(ranks ${arg_RANKS})
    add_test(NAME ${target}.tcp-${ranks} COMMAND ${PROJECT_SOURCE_DIR}/tests/support/start_ranks ${ranks}
      $<TARGET_FILE:${target}> --gtest_filter=${arg_FILTER} --gtest_brief=1)
    set_tests_properties(${target}.tcp-${ranks} PROPERTIES LABELS "fast;ranks" TIMEOUT 660 RUN_SERIAL ON)
  endforeach()
endfunction()
