#pragma once

#include "kit/tensor.h"

namespace kit {

/// y = x W^T on all cores.
/// x: [n, in], w: [out, in], y: [n, out]. n = 1 streams W once at memory speed; larger n loads each row of W
/// once for several tokens. Every y element is summed in the same order whatever n is, so running tokens one
/// by one gives the same bits as running them together. Throws kit::Error on shapes that do not fit.
void linear(TensorView<const float> x, TensorView<const float> w, TensorView<float> y);

/// out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * gain. x, out: [n, dim], gain: [dim]; x and out may be the same.
void rms_norm(TensorView<const float> x, TensorView<const float> gain, float eps, TensorView<float> out);

/// gate[i] = silu(gate[i]) * up[i], silu(z) = z / (1 + e^-z). gate, up: [n, hidden_dim].
void swiglu(TensorView<float> gate, TensorView<const float> up);

}  // namespace kit
