include(GoogleTest)

# kit_add_lab(lab02
#   CONTRACT include/lab02/attention.h ...   headers a student may not change
#   SOURCES attention.cpp copy.cu ...        file names that exist in src/ and, mirrored, in solutions/<folder>/
#   TESTS tests/attention_test.cpp ...       compiled once, linked with every implementation
#   BENCH bench/decode_bench.cpp ...
#   TOOLS generate ...)                      tools/<name>.cpp: programs that run an implementation
#
# Makes lab02_student and, where solutions/ exists, lab02_solution; from each a lab02_tests_<impl>, lab02_bench_<impl>
# and lab02_<tool>_<impl>.
function(kit_add_lab lab)
  cmake_parse_arguments(ARG "" "" "CONTRACT;SOURCES;TESTS;BENCH;TOOLS" ${ARGN})
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)

  add_library(${lab}_contract INTERFACE)
  target_sources(${lab}_contract INTERFACE FILE_SET HEADERS BASE_DIRS include FILES ${ARG_CONTRACT})
  target_link_libraries(${lab}_contract INTERFACE kit)

  # Tests see the contract alone, so one compilation serves all implementations.
  add_library(${lab}_test_objects OBJECT ${ARG_TESTS})
  target_link_libraries(${lab}_test_objects PRIVATE ${lab}_contract kit_testing kit_warnings)
  add_library(${lab}_bench_objects OBJECT ${ARG_BENCH})
  target_link_libraries(${lab}_bench_objects PRIVATE ${lab}_contract kit_testing kit_warnings benchmark::benchmark)
  foreach(tool ${ARG_TOOLS})
    add_library(${lab}_${tool}_objects OBJECT tools/${tool}.cpp)
    target_link_libraries(${lab}_${tool}_objects PRIVATE ${lab}_contract kit_warnings CLI11::CLI11 nlohmann_json::nlohmann_json)
  endforeach()

  set(solution_dir ${PROJECT_SOURCE_DIR}/solutions/${folder})
  set_property(GLOBAL PROPERTY ${lab}_tools ${ARG_TOOLS})
  set_property(GLOBAL PROPERTY ${lab}_folder ${folder})
  set_property(GLOBAL PROPERTY ${lab}_sources ${ARG_SOURCES})

  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/src/ OUTPUT_VARIABLE student_sources)
  kit_add_implementation(${lab} student WARNINGS kit_warnings_advice SOURCES ${student_sources})
  if(EXISTS ${solution_dir})
    list(TRANSFORM ARG_SOURCES PREPEND ${solution_dir}/ OUTPUT_VARIABLE solution_sources)
    kit_add_implementation(${lab} solution WARNINGS kit_warnings SOURCES ${solution_sources})
  endif()
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

  add_executable(${lab}_tests_${impl})
  target_link_libraries(${lab}_tests_${impl} PRIVATE ${lab}_test_objects ${lab}_${impl} kit_simt_testing kit_testing_main)
  gtest_discover_tests(${lab}_tests_${impl} TEST_PREFIX ${lab}.${impl}. DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${lab}-${impl} TIMEOUT 120)

  add_executable(${lab}_bench_${impl})
  target_link_libraries(${lab}_bench_${impl} PRIVATE ${lab}_bench_objects ${lab}_${impl} kit_testing benchmark::benchmark_main)
  get_property(tools GLOBAL PROPERTY ${lab}_tools)
  foreach(tool ${tools})
    add_executable(${lab}_${tool}_${impl})
    target_link_libraries(${lab}_${tool}_${impl} PRIVATE ${lab}_${tool}_objects ${lab}_${impl} kit CLI11::CLI11)
  endforeach()
endfunction()
