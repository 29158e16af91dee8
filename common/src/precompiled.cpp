// Empty: what is compiled are the headers of kit_precompile_headers (common/CMakeLists.txt).
