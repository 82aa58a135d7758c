"""How the libraries are compiled, whatever the flags of the workspace that depends on them."""

# A C program that depends on one of the kernels need not choose a standard of C++.
LIBRARY_COPTS = ["-std=c++20"]
