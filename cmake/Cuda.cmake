# CUDA C++ files. They are always compiled by the host compiler for the SIMT executor, and with KIT_CUDA by nvcc too.

# How the host compiler compiles kernels for the executor (docs/simt_executor.md):
#   -fsanitize=thread      calls the executor at every load and store; the sanitizer's runtime is not linked
#   -fsanitize=bounds      calls the executor when an index exceeds a declared bound
#   -O2, no vectorising    one access of the source stays one access; a debug build would count what no GPU executes
#   -g                     source lines
add_library(kit_simt_kernel INTERFACE)
target_compile_options(kit_simt_kernel INTERFACE
  -fno-sanitize=all -fsanitize=thread -fsanitize=bounds -fsanitize-recover=bounds
  -O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-tree-vectorize
  -Wno-unknown-pragmas
  $<$<CXX_COMPILER_ID:GNU>:-fno-tree-slp-vectorize;-fno-store-merging;-fno-tree-loop-distribute-patterns;-Wno-tsan>
  $<$<CXX_COMPILER_ID:Clang>:-fno-slp-vectorize;-gdwarf-aranges;-fno-builtin-memcpy;-fno-builtin-memset>)
target_link_libraries(kit_simt_kernel INTERFACE kit_simt)

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
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} kit_simt_kernel)
endfunction()
