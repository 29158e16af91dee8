include(GoogleTest)

# kit_add_lab(lab02
#   CONTRACT include/lab02/attention.h ...   headers a student may not change
#   SOURCES attention.cpp copy.cu ...        file names that exist in src/ and, mirrored, in solutions/<folder>/
#   FAST products.cpp ...                    of these, what has a fast variant in solutions/<folder>_fast/
#   TESTS tests/attention_test.cpp ...       compiled once, linked with every implementation
#   CUDA_TESTS tests/cuda_copy_test.cpp ...  tests of .cu files: run on the executor, with KIT_CUDA on the GPU too
#   BENCH bench/decode_bench.cpp ...
#   CUDA_BENCH bench/cuda_bench.cpp ...      benchmarks of .cu files, on a GPU
#   TOOLS generate ...)                      tools/<name>.cpp: programs that run an implementation
#
# Where the lab has remote/contract.cpp, which all labs must, `grader record` gets its two programs (docs/grading.md):
# lab02_tests_remote, the tests linked with the contract as calls to another process, and lab02_worker_<impl>.
#
# Makes lab02_student and, where solutions/ exists, lab02_solution; from each a lab02_tests_<impl>, lab02_bench_<impl>
# and lab02_<tool>_<impl>. With KIT_CUDA, from a lab with .cu files also lab02_gpu_<impl>, those files compiled by nvcc, and
# lab02_gpu_tests_<impl> and lab02_gpu_bench_<impl>, the objects of CUDA_TESTS and CUDA_BENCH linked with it.
#
# FAST names files of solutions/<folder>_fast/, fast variants of the solution's files of the same names. With the rest of the
# solution they make lab02_tests_fast and lab02_bench_fast.
function(kit_add_lab lab)
  cmake_parse_arguments(ARG "" "" "CONTRACT;SOURCES;FAST;TESTS;CUDA_TESTS;BENCH;CUDA_BENCH;TOOLS" ${ARGN})
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)

  add_library(${lab}_contract INTERFACE)
  target_sources(${lab}_contract INTERFACE FILE_SET HEADERS BASE_DIRS include FILES ${ARG_CONTRACT})
  target_link_libraries(${lab}_contract INTERFACE kit)

  # Tests see the contract alone, so one compilation serves all implementations. What implementations return may be too
  # short: an index beyond the end of a standard container ends the test, in a checker too, before it does harm.
  add_library(${lab}_test_objects OBJECT ${ARG_TESTS})
  target_link_libraries(${lab}_test_objects PRIVATE ${lab}_contract kit_testing kit_warnings)
  target_compile_definitions(${lab}_test_objects PRIVATE _GLIBCXX_ASSERTIONS)
  kit_quick_tests(${lab}_test_objects ${ARG_TESTS})
  set_property(GLOBAL PROPERTY ${lab}_cuda_test_objects "")
  if(ARG_CUDA_TESTS)
    add_library(${lab}_cuda_test_objects OBJECT ${ARG_CUDA_TESTS})
    target_link_libraries(${lab}_cuda_test_objects PRIVATE ${lab}_contract kit_testing kit_warnings)
    target_compile_definitions(${lab}_cuda_test_objects PRIVATE _GLIBCXX_ASSERTIONS)
    kit_quick_tests(${lab}_cuda_test_objects ${ARG_CUDA_TESTS})
    set_property(GLOBAL PROPERTY ${lab}_cuda_test_objects ${lab}_cuda_test_objects)
    set(cuda_test_objects ${lab}_cuda_test_objects)
  endif()
  set_property(GLOBAL PROPERTY ${lab}_cuda_bench_objects "")
  if(KIT_CUDA AND ARG_CUDA_BENCH)
    add_library(${lab}_cuda_bench_objects OBJECT ${ARG_CUDA_BENCH})
    target_link_libraries(${lab}_cuda_bench_objects PRIVATE ${lab}_contract kit_gpu_bench_main kit_warnings)
    set_property(GLOBAL PROPERTY ${lab}_cuda_bench_objects ${lab}_cuda_bench_objects)
  endif()
  add_library(${lab}_bench_objects OBJECT ${ARG_BENCH})
  target_link_libraries(${lab}_bench_objects PRIVATE ${lab}_contract kit_testing kit_warnings benchmark::benchmark)
  foreach(tool ${ARG_TOOLS})
    add_library(${lab}_${tool}_objects OBJECT tools/${tool}.cpp)
    target_link_libraries(${lab}_${tool}_objects PRIVATE ${lab}_contract kit_warnings kit_quick_build CLI11::CLI11 nlohmann_json::nlohmann_json)
    target_precompile_headers(${lab}_${tool}_objects REUSE_FROM kit_tool_headers)
  endforeach()

  kit_add_remote(${lab} TESTS ${lab}_test_objects ${cuda_test_objects})

  set(solution_dir ${PROJECT_SOURCE_DIR}/solutions/${folder})
  set_property(GLOBAL PROPERTY ${lab}_tools ${ARG_TOOLS})
  set_property(GLOBAL PROPERTY ${lab}_folder ${folder})
  set_property(GLOBAL PROPERTY ${lab}_sources ${ARG_SOURCES})

  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/src/ OUTPUT_VARIABLE student_sources)
  kit_add_implementation(${lab} student WARNINGS kit_warnings_advice SOURCES ${student_sources})
  if(EXISTS ${solution_dir})
    list(TRANSFORM ARG_SOURCES PREPEND ${solution_dir}/ OUTPUT_VARIABLE solution_sources)
    kit_add_implementation(${lab} solution WARNINGS kit_warnings SOURCES ${solution_sources})
    if(ARG_FAST)
      list(TRANSFORM ARG_FAST PREPEND ${solution_dir}_fast/ OUTPUT_VARIABLE fast_sources)
      kit_add_fast_variant(${lab} ${fast_sources})
    endif()
  endif()
endfunction()

# The linker takes an archive's member only for symbols that are still missing: of the solution what the variant lacks.
function(kit_add_fast_variant lab)
  add_library(${lab}_fast OBJECT ${ARGN})
  target_link_libraries(${lab}_fast PRIVATE ${lab}_contract kit_warnings)
  get_property(cuda_tests GLOBAL PROPERTY ${lab}_cuda_test_objects)
  add_executable(${lab}_tests_fast)
  target_link_libraries(${lab}_tests_fast PRIVATE
    ${lab}_test_objects ${cuda_tests} ${lab}_fast ${lab}_solution kit_simt_testing kit_testing_main)
  # Kernels are the solution's, and were tested there.
  gtest_discover_tests(${lab}_tests_fast TEST_PREFIX ${lab}.fast. TEST_FILTER -*Cuda* DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${lab}-fast TIMEOUT 120)
  add_executable(${lab}_bench_fast)
  target_link_libraries(${lab}_bench_fast PRIVATE
    ${lab}_bench_objects ${lab}_fast ${lab}_solution kit_testing benchmark::benchmark_main)
endfunction()

# Half the time to compile a test went into headers and optimising it. What computes for long is in other files (references,
# the kit), which keep the preset's options; what tests say of themselves is a line number.
function(kit_quick_tests target)
  set(tests ${ARGN})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set_source_files_properties(${tests} PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:RelWithDebInfo>:-O1;-g1>")
  target_precompile_headers(${target} REUSE_FROM kit_lab_test_headers)
endfunction()

# The lab between two processes: the checker with its tests, and what a worker has besides an implementation.
function(kit_add_remote lab)
  cmake_parse_arguments(ARG "" "" "TESTS" ${ARGN})
  add_library(${lab}_remote STATIC EXCLUDE_FROM_ALL remote/contract.cpp)
  target_link_libraries(${lab}_remote PUBLIC ${lab}_contract kit_remote PRIVATE kit_warnings kit_quick_build)
  target_precompile_headers(${lab}_remote REUSE_FROM kit_contract_headers)
  add_library(${lab}_worker_objects OBJECT EXCLUDE_FROM_ALL remote/contract.cpp)
  target_compile_definitions(${lab}_worker_objects PRIVATE KIT_REMOTE_WORKER)
  target_link_libraries(${lab}_worker_objects PRIVATE ${lab}_contract kit_remote kit_warnings kit_quick_build)
  target_precompile_headers(${lab}_worker_objects REUSE_FROM kit_contract_headers)
  add_executable(${lab}_tests_remote EXCLUDE_FROM_ALL)
  target_link_libraries(${lab}_tests_remote PRIVATE ${ARG_TESTS} ${lab}_remote kit_simt_remote kit_testing_main)
  # Everything that `grader record` needs but the submission.
  add_dependencies(record ${lab}_tests_remote ${lab}_worker_objects kit_worker kit_simt kit_remote)
endfunction()

# One implementation of a lab: library <lab>_<impl> from SOURCES, and the lab's programs linked with it.
function(kit_add_implementation lab impl)
  cmake_parse_arguments(ARG "" "WARNINGS" "SOURCES" ${ARGN})
  set(kernels ${ARG_SOURCES})
  list(FILTER kernels INCLUDE REGEX "\\.cu$")
  list(FILTER ARG_SOURCES EXCLUDE REGEX "\\.cu$")
  add_library(${lab}_${impl} STATIC ${ARG_SOURCES})
  target_link_libraries(${lab}_${impl} PUBLIC ${lab}_contract PRIVATE ${ARG_WARNINGS})
  if(kernels)
    kit_add_simt_kernels(${lab}_${impl}_kernels SOURCES ${kernels} LIBRARIES ${lab}_contract ${ARG_WARNINGS})
    target_link_libraries(${lab}_${impl} PUBLIC kit_simt PRIVATE ${lab}_${impl}_kernels)
  endif()

  get_property(cuda_tests GLOBAL PROPERTY ${lab}_cuda_test_objects)
  add_executable(${lab}_tests_${impl})
  target_link_libraries(${lab}_tests_${impl} PRIVATE
    ${lab}_test_objects ${cuda_tests} ${lab}_${impl} kit_simt_testing kit_testing_main)
  gtest_discover_tests(${lab}_tests_${impl} TEST_PREFIX ${lab}.${impl}. DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${lab}-${impl} TIMEOUT 120)

  # Only `grader record` needs it, and compiles it in a sandbox.
  add_executable(${lab}_worker_${impl} EXCLUDE_FROM_ALL)
  target_link_libraries(${lab}_worker_${impl} PRIVATE ${lab}_worker_objects kit_worker ${lab}_${impl})

  if(KIT_CUDA AND kernels)
    kit_add_gpu_implementation(${lab} ${impl} HOST ${ARG_SOURCES} KERNELS ${kernels} WARNINGS ${ARG_WARNINGS})
  endif()

  add_executable(${lab}_bench_${impl})
  target_link_libraries(${lab}_bench_${impl} PRIVATE ${lab}_bench_objects ${lab}_${impl} kit_testing benchmark::benchmark_main)
  get_property(tools GLOBAL PROPERTY ${lab}_tools)
  foreach(tool ${tools})
    add_executable(${lab}_${tool}_${impl})
    target_link_libraries(${lab}_${tool}_${impl} PRIVATE ${lab}_${tool}_objects ${lab}_${impl} kit CLI11::CLI11)
  endforeach()
endfunction()

# The same implementation for a GPU: <lab>_gpu_<impl>, and its tests and benchmarks where the lab has such.
function(kit_add_gpu_implementation lab impl)
  cmake_parse_arguments(ARG "" "WARNINGS" "HOST;KERNELS" ${ARGN})
  kit_add_gpu_kernels(${lab}_gpu_${impl}_kernels SOURCES ${ARG_KERNELS} LIBRARIES ${lab}_contract ${ARG_WARNINGS})
  add_library(${lab}_gpu_${impl} STATIC ${ARG_HOST} $<TARGET_OBJECTS:${lab}_gpu_${impl}_kernels>)
  target_link_libraries(${lab}_gpu_${impl} PUBLIC ${lab}_contract kit_gpu PRIVATE ${ARG_WARNINGS})

  get_property(tests GLOBAL PROPERTY ${lab}_cuda_test_objects)
  if(tests)
    kit_add_gpu_tests(${lab}_gpu_tests_${impl} PREFIX ${lab}.${impl}.gpu. LABEL ${lab}-${impl}-gpu
      LIBRARIES ${tests} ${lab}_gpu_${impl})
  endif()
  get_property(bench GLOBAL PROPERTY ${lab}_cuda_bench_objects)
  if(bench)
    kit_add_gpu_bench(${lab}_gpu_bench_${impl} LIBRARIES ${bench} ${lab}_gpu_${impl})
  endif()
endfunction()
