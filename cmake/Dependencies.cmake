# Every library the kit uses, and nothing else. A package of the system comes first; where it is missing, the pinned
# release is fetched and built. Packages for Debian 12 are listed in ./kit.
include(FetchContent)
find_package(Threads REQUIRED)
find_package(PkgConfig)

# kit_dependency(<package> <git url> <tag>): find_package(<package>), else fetch <tag>.
macro(kit_dependency name url tag)
  FetchContent_Declare(${name} GIT_REPOSITORY ${url} GIT_TAG ${tag} GIT_SHALLOW ON FIND_PACKAGE_ARGS ${ARGN})
  FetchContent_MakeAvailable(${name})
endmacro()

set(BENCHMARK_ENABLE_TESTING OFF CACHE INTERNAL "")
set(TBB_TEST OFF CACHE INTERNAL "")
set(HWY_ENABLE_TESTS OFF CACHE INTERNAL "")
set(HWY_ENABLE_EXAMPLES OFF CACHE INTERNAL "")
set(INSTALL_GTEST OFF CACHE INTERNAL "")

kit_dependency(GTest https://github.com/google/googletest.git release-1.12.1 NAMES GTest)
kit_dependency(benchmark https://github.com/google/benchmark.git v1.7.1)
kit_dependency(fmt https://github.com/fmtlib/fmt.git 9.1.0)
kit_dependency(nlohmann_json https://github.com/nlohmann/json.git v3.11.2)
kit_dependency(CLI11 https://github.com/CLIUtils/CLI11.git v2.1.2)
kit_dependency(tomlplusplus https://github.com/marzer/tomlplusplus.git v3.3.0)  # rubrics
kit_dependency(pugixml https://github.com/zeux/pugixml.git v1.13)               # JUnit, HTML and SVG output
kit_dependency(TBB https://github.com/oneapi-src/oneTBB.git v2021.8.0)          # parallel-for
kit_dependency(hwy https://github.com/google/highway.git 1.0.3)                 # portable SIMD
if(NOT TARGET hwy::hwy)
  add_library(hwy::hwy ALIAS hwy)
endif()

# kit_find_library(<target> <header> <library>): where there is no pkg-config, the files themselves, in CMAKE_PREFIX_PATH or the
# system. The old kind of run path also holds for the libraries that the library needs.
function(kit_find_library target header library)
  find_path(${library}_INCLUDE_DIR ${header})
  find_library(${library}_LIBRARY ${library})
  if(NOT TARGET ${target} AND ${library}_INCLUDE_DIR AND ${library}_LIBRARY)
    add_library(${target} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES
      IMPORTED_LOCATION ${${library}_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${${library}_INCLUDE_DIR}
      INTERFACE_LINK_OPTIONS LINKER:--disable-new-dtags)
  endif()
endfunction()

# PCRE2 (the tokenizer's split patterns) ships no CMake package in Debian, so pkg-config finds it.
if(PkgConfig_FOUND)
  pkg_check_modules(PCRE2 IMPORTED_TARGET libpcre2-8)
endif()
kit_find_library(PkgConfig::PCRE2 pcre2.h pcre2-8)
if(NOT TARGET PkgConfig::PCRE2)
  set(PCRE2_BUILD_TESTS OFF CACHE INTERNAL "")
  set(PCRE2_BUILD_PCRE2GREP OFF CACHE INTERNAL "")
  FetchContent_Declare(pcre2 GIT_REPOSITORY https://github.com/PCRE2Project/pcre2.git GIT_TAG pcre2-10.42 GIT_SHALLOW ON)
  FetchContent_MakeAvailable(pcre2)
  add_library(PkgConfig::PCRE2 ALIAS pcre2-8-static)
endif()

# Boost.Context: the stacks of the SIMT executor's threads.
find_package(Boost 1.74 QUIET COMPONENTS context)
if(NOT TARGET Boost::context)
  set(BOOST_INCLUDE_LIBRARIES context CACHE INTERNAL "")
  FetchContent_Declare(boost GIT_REPOSITORY https://github.com/boostorg/boost.git GIT_TAG boost-1.84.0 GIT_SHALLOW ON)
  FetchContent_MakeAvailable(boost)
  add_library(Boost::context ALIAS boost_context)
endif()

# elfutils' libdw: from code addresses to source lines. It builds with autotools alone, so there is nothing to fetch that
# CMake could build.
if(PkgConfig_FOUND)
  pkg_check_modules(LIBDW IMPORTED_TARGET libdw)
endif()
if(NOT TARGET PkgConfig::LIBDW)
  message(FATAL_ERROR "libdw (elfutils) is missing: install libdw-dev or elfutils-devel, or bring a prefix (./kit deps)")
endif()
kit_find_library(PkgConfig::LIBDW elfutils/libdwfl.h dw)

kit_dependency(cereal https://github.com/USCiLab/cereal.git v1.3.2 NAMES cereal)  # messages between checker and worker

# libarchive: submissions as .zip and .tar.gz.
find_package(LibArchive QUIET)
if(NOT TARGET LibArchive::LibArchive)
  foreach(feature TEST TAR CPIO CAT OPENSSL LIBXML2 EXPAT ICONV ACL XATTR BZip2 LZMA ZSTD LZ4)
    set(ENABLE_${feature} OFF CACHE INTERNAL "")
  endforeach()
  FetchContent_Declare(libarchive GIT_REPOSITORY https://github.com/libarchive/libarchive.git GIT_TAG v3.6.2 GIT_SHALLOW ON)
  FetchContent_MakeAvailable(libarchive)
  target_include_directories(archive_static PUBLIC ${libarchive_SOURCE_DIR}/libarchive)
  add_library(LibArchive::LibArchive ALIAS archive_static)
endif()
