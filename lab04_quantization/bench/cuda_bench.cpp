#include "lab04/cuda_kernels.h"
