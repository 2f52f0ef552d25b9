// Work in a process of its own, so that peak memory is its own.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include "lorasb/core/check.hpp"

namespace lorasb::examples {

/// Forks a child for `work`. Throws ErrorId::data, naming `what`, when it fails; its own message is on stderr.
template <class Work>
void in_child_process(const std::string& what, const Work& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    int status = 0;
    try {
      work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "\n%s\n", error.what());
      status = 1;
    }
    std::fflush(nullptr);
    _exit(status);
  }
  int status = 0;
  require(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, ErrorId::data,
          what, " failed");
}

}  // namespace lorasb::examples
