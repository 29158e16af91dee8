"""TFLOP/s of PyTorch's scaled_dot_product_attention, for the shapes of cuda_bench.cpp, on the GPU of this machine.

    python3 lab05_flash_attention/bench/sdpa.py

Run it beside lab05_gpu_bench_solution: the same FLOPs are counted (4 head_dim for a query and a visible key), so the two
tables can be read side by side. Needs PyTorch with CUDA; students never need it.
"""

import sys

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError as error:
    sys.exit(f"not run: {error}")

HEADS = 32


def median_seconds(call, n=21):
    call()
    times = []
    for _ in range(n):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times)[n // 2]


def main():
    if not torch.cuda.is_available():
        sys.exit("not run: no GPU")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {HEADS} heads, TFLOP/s")
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
                "math": SDPBackend.MATH}
    for dtype in (torch.float16, torch.float32):
        for head_dim in (64, 128):
            for n in (1024, 4096):
                for causal in (False, True):
                    q, k, v = (torch.randn(1, HEADS, n, head_dim, device="cuda", dtype=dtype) for _ in range(3))
                    flops = 4 * head_dim * HEADS * (n * (n + 1) / 2 if causal else n * n)
                    for name, backend in backends.items():
                        try:
                            with sdpa_kernel(backend):
                                seconds = median_seconds(
                                    lambda: torch.nn.functional.scaled_dot_product_attention(
                                        q, k, v, is_causal=causal))
                        except RuntimeError:
                            continue  # FLASH_ATTENTION has no float32
                        print(f"{str(dtype):14} head_dim {head_dim:3} n {n:5} causal {causal!s:5} {name:9} "
                              f"{flops / seconds / 1e12:8.2f}")


if __name__ == "__main__":
    main()
