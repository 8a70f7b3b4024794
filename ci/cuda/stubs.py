#!/usr/bin/env python3
"""stubs.py CUDARC MODULE: C code with a weak function for each that cudarc's module declares. One that is called says
on stderr that it is not simulated and answers an error."""
import re
import sys

cudarc, module = sys.argv[1:]
with open(f"{cudarc}/src/{module}/sys/mod.rs") as file:
    text = file.read()
# "not supported" of each library; of those that have none, any error
ERROR = {"driver": 801, "runtime": 801, "nccl": 5, "cudnn": 3000, "cublas": 15, "cublaslt": 15, "curand": 201, "nvrtc": 7}[module]
functions = dict(re.findall(r'extern "C" \{\s*(?:#\[[^\]]*\]\s*)*(?:pub )?fn (\w+)\(([^;]*);', text))
print("#include <stdio.h>")
print('static void unsupported(const char *name) { fprintf(stderr, "simulated CUDA: %s is not simulated\\n", name); }')
for name, rest in sorted(functions.items()):
    result = rest.rsplit(")", 1)[1]
    if "*const" in result:
        print(f'__attribute__((weak)) const char *{name}(void) {{ return "simulated"; }}')
    elif "usize" in result or "u64" in result:
        print(f"__attribute__((weak)) unsigned long {name}(void) {{ return 0; }}")
    else:
        print(f'__attribute__((weak)) int {name}(void) {{ unsupported("{name}"); return {ERROR}; }}')
