// gnuplot at the other end of a pipe.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

namespace lorasb::examples {

/// A picture in the making: commands and numbers go to gnuplot, which may not be there.
///
///     Plot plot("out/plot.png", 1000, 500);
///     plot.print("plot '-' with lines title %s\n", Plot::quoted("it's so").c_str());
///     plot.print("%d %g\n", 1, 0.5);
///     plot.print("e\n");
///     if (!plot.finish()) ...;
class Plot {
 public:
  Plot(const std::filesystem::path& png, int width, int height) : gnuplot_(popen("gnuplot 2>/dev/null", "w")) {
    print("set terminal pngcairo size %d,%d font 'sans,11'\nset output %s\n", width, height, quoted(png.string()).c_str());
  }
  Plot(const Plot&) = delete;
  Plot& operator=(const Plot&) = delete;
  ~Plot() { finish(); }

  [[gnu::format(printf, 2, 3)]] void print(const char* format, ...) {
    if (gnuplot_ == nullptr) return;
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(gnuplot_, format, arguments);
    va_end(arguments);
  }

  /// False when gnuplot is missing or failed.
  bool finish() {
    std::FILE* const gnuplot = std::exchange(gnuplot_, nullptr);
    return gnuplot != nullptr && pclose(gnuplot) == 0;
  }

  /// In gnuplot's quotes an apostrophe is written twice.
  static std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) result.append(c == '\'' ? 2 : 1, c);
    return result + "'";
  }

 private:
  std::FILE* gnuplot_;
};

}  // namespace lorasb::examples
