# CUDA C++ files. They are always compiled by the host compiler for the SIMT executor, and with KIT_CUDA by nvcc too.

# How the host compiler compiles kernels for the executor (docs/simt_executor.md):
#   -fsanitize=thread      calls the executor at every load and store; the sanitizer's runtime is not linked
#   -fsanitize=bounds      calls the executor when an index exceeds a declared bound
#   -O2, no vectorising    one access of the source stays one access; a debug build would count what no GPU executes
#   no merging of code     two calls in two branches stay two places
#   -fno-finite-loops      an endless loop stays one
#   -g                     source lines
# They are options of the source file, which come last on the command line, after a preset's own sanitizers.
set(KIT_SIMT_KERNEL_OPTIONS
  -fno-sanitize=all -fsanitize=thread -fsanitize=bounds -fsanitize-recover=bounds
  -O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-tree-vectorize -fno-finite-loops -Wno-unknown-pragmas)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND KIT_SIMT_KERNEL_OPTIONS
    -fno-tree-slp-vectorize -fno-store-merging -fno-tree-loop-distribute-patterns -fno-tree-tail-merge -fno-crossjumping -Wno-tsan)
else()
  # clang turns loops that fill or copy into calls of memset and memcpy, which nobody would see, and leaves out a load when the same address is stored to right after, unless told otherwise.
  list(APPEND KIT_SIMT_KERNEL_OPTIONS
    -fno-slp-vectorize -gdwarf-aranges -mllvm -disable-loop-idiom-all -mllvm -tsan-instrument-read-before-write=1)
endif()

# kit_add_simt_kernels(<target> SOURCES a.cu ... LIBRARIES ...): compiles .cu files into an object library <target> for the
# executor. A generated one-line .cpp includes each, because CMake would hand a .cu to nvcc.
function(kit_add_simt_kernels target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  set(wrappers)
  foreach(source ${ARG_SOURCES})
    get_filename_component(path ${source} ABSOLUTE)
    get_filename_component(name ${source} NAME)
    set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}/${name}.cpp)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${path}\"\n" @ONLY)
    list(APPEND wrappers ${wrapper})
  endforeach()
  add_library(${target} OBJECT ${wrappers})
  set_source_files_properties(${wrappers} PROPERTIES COMPILE_OPTIONS "${KIT_SIMT_KERNEL_OPTIONS}")
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} kit_simt)
endfunction()

# kit_add_gpu_kernels(<target> SOURCES a.cu ... LIBRARIES ...): compiles the same files with nvcc into an object library.
# -lineinfo: Nsight Compute and compute-sanitizer name source lines.
function(kit_add_gpu_kernels target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${target} OBJECT ${ARG_SOURCES})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} kit_gpu)
endfunction()

# kit_add_gpu_tests(<target> PREFIX p LABEL l LIBRARIES ...): a test program for the GPU. Without one every test says
# 'skipped: no GPU'. `./kit gpu` finds the program by the list that kit_write_gpu_programs writes.
function(kit_add_gpu_tests target)
  cmake_parse_arguments(ARG "" "PREFIX;LABEL" "LIBRARIES" ${ARGN})
  add_executable(${target})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} kit_gpu_testing kit_gpu_skip kit_testing_main)
  # One GPU: tests on it take turns.
  gtest_discover_tests(${target} TEST_PREFIX ${ARG_PREFIX} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 120 RESOURCE_LOCK gpu)
  kit_register_gpu_program(tests ${target})
endfunction()

# kit_add_gpu_bench(<target> LIBRARIES ...): a Google Benchmark program for the GPU.
function(kit_add_gpu_bench target)
  cmake_parse_arguments(ARG "" "" "LIBRARIES" ${ARGN})
  add_executable(${target})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} kit_gpu_bench_main)
  kit_register_gpu_program(bench ${target})
endfunction()

# kind: tests, bench, calibration (profiled by Nsight Compute) or counts (the executor's).
function(kit_register_gpu_program kind target)
  set_property(GLOBAL APPEND PROPERTY kit_gpu_targets ${target})
  set_property(GLOBAL APPEND_STRING PROPERTY kit_gpu_programs "${kind} ${target} $<TARGET_FILE:${target}>\n")
endfunction()

# Target `gpu`, everything that runs on a GPU, and gpu_programs.txt in the build folder: "<kind> <target> <file>" a line.
function(kit_write_gpu_programs)
  get_property(targets GLOBAL PROPERTY kit_gpu_targets)
  get_property(programs GLOBAL PROPERTY kit_gpu_programs)
  add_custom_target(gpu DEPENDS ${targets})
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/gpu_programs.txt CONTENT "${programs}")
endfunction()
