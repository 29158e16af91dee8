#include "@ROOT@/solutions/lab02_kv_cache/attention.cpp"
