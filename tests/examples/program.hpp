// A program run as a user runs it, in a folder of its own.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace lorasb::test {

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// A folder of its own for each test, with a small data set of two labels in it: 120 texts, and 40 for the test.
struct TextFolder {
  std::filesystem::path path;
  TextFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lorasb-examples-XXXXXX").string();
    path = mkdtemp(name.data());
    const std::vector<std::string> animals{"a small bird that sings", "a large fish of the sea", "the dog barks",
                                           "an old horse"};
    const std::vector<std::string> numbers{"three and four are seven", "half of a dozen", "the square root of two",
                                           "ten percent"};
    std::ofstream train(path / "train.tsv"), test(path / "test.tsv");
    for (int i = 0; i < 60; ++i) {
      train << "animal\t" << animals[std::size_t(i % 4)] << " " << i << "\n"
            << "number\t" << numbers[std::size_t(i / 2 % 4)] << " " << i << "\n";
      if (i % 3 == 0)
        test << "animal\twild " << animals[std::size_t(i % 4)] << "\nnumber\tabout " << numbers[std::size_t(i % 4)] << "\n";
    }
  }
  TextFolder(const TextFolder&) = delete;
  TextFolder& operator=(const TextFolder&) = delete;
  ~TextFolder() { std::filesystem::remove_all(path); }
  std::string data() const { return "tsv:" + (path / "train.tsv").string() + ":" + (path / "test.tsv").string(); }
};

/// Starts a program with its messages in `log`; `limit` bounds the size of the files that it writes.
inline pid_t start(std::string program, std::vector<std::string> arguments, const std::filesystem::path& log,
                   rlim_t limit = RLIM_INFINITY) {
  arguments.insert(arguments.begin(), std::move(program));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::cout.flush();  // or the child writes it once more
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  std::freopen(log.c_str(), "w", stdout);
  dup2(STDOUT_FILENO, STDERR_FILENO);
  const rlimit size{limit, limit};
  setrlimit(RLIMIT_FSIZE, &size);
  execvp(argv[0], argv.data());
  _exit(127);
}

/// Its exit status, or 128 and more when a signal ended it; and what it has used.
inline int finish(pid_t child, rusage* usage = nullptr) {
  int status = 0;
  wait4(child, &status, 0, usage);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace lorasb::test
