# Interface targets that every target of the kit links; no global flags anywhere.

# Warnings for the kit's own code. A student's code gets them as advice, never as errors (kit_warnings_advice).
add_library(kit_warnings_advice INTERFACE)
target_compile_options(kit_warnings_advice INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wno-sign-conversion>)
target_compile_options(kit_warnings_advice INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wconversion,-Wno-sign-conversion>)
add_library(kit_warnings INTERFACE)
target_link_libraries(kit_warnings INTERFACE kit_warnings_advice)
if(KIT_SANITIZE)
  # GCC's sanitizer instrumentation makes -Wmaybe-uninitialized cry wolf inside libstdc++ headers.
  target_compile_options(kit_warnings INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
endif()
# `omp simd` asks for a loop in vectors. Where clang cannot, the loop is slower, not wrong.
target_compile_options(kit_warnings_advice INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,Clang,AppleClang>:-Wno-pass-failed>)
if(KIT_WERROR)
  target_compile_options(kit_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Werror>)
endif()

# Code generation. -ffp-contract=fast is GCC's own default with extensions on; it is named here so that clang and
# -std=c++20 agree. Nothing uses -ffast-math: NaN must stay NaN, and sums must keep their order.
add_library(kit_codegen INTERFACE)
target_compile_options(kit_codegen INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=fast;-fopenmp-simd>)
# Messages name files from the top of the tree, the same on every machine.
target_compile_options(kit_codegen INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=>)
# fmt 9 takes nvcc for a compiler without constexpr and then does not compile.
target_compile_definitions(kit_codegen INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
if(KIT_NATIVE)
  target_compile_options(kit_codegen INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(KIT_SANITIZE)
  target_compile_options(kit_codegen INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
  target_link_options(kit_codegen INTERFACE -fsanitize=address,undefined)
endif()

# For programs whose speed and debugger nobody needs, the grader and the kit's own tests: half the compile time, which is
# what stands between a fresh clone and the first verdict.
add_library(kit_quick_build INTERFACE)
target_compile_options(kit_quick_build INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:RelWithDebInfo>>:-O1;-g0>)
