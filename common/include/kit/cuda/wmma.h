#pragma once

/// Tensor cores: nvcuda::wmma. nvcc takes NVIDIA's <mma.h>; any other compiler takes the SIMT executor's
/// stand-in, which computes the same products.
#if defined(__CUDACC__)
#include <mma.h>  // IWYU pragma: export
#else
#include "kit/simt/wmma.h"  // IWYU pragma: export
#endif
