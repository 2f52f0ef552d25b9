// What lorasb asks of a compiler, said in words before anything else is compiled.
#pragma once

// The include of a file that is not there ends the compilation: without it hundreds of errors would follow the one that says why.
#if __cplusplus < 202002L
#error "lorasb needs C++20: compile with -std=c++20 or newer (CMake: target_compile_features(your_target PRIVATE cxx_std_20))"
#include "lorasb needs C++20"
#elif !defined(__cpp_exceptions)
#error "lorasb needs exceptions, as its errors are exceptions: compile without -fno-exceptions"
#include "lorasb needs exceptions"
#endif
