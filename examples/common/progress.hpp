// A progress bar on a terminal, and silence anywhere else.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "lorasb/core/types.hpp"

namespace lorasb::examples {

/// Seconds on a clock that never goes back.
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A line on stderr that is written over, at most ten times a second:
///     lora-sb [##########----------]  50%  loss 0.812  540 examples/s  0:41 left
class ProgressBar {
 public:
  ProgressBar(std::string name, double total, std::string unit = "examples")
      : name_(std::move(name)), unit_(std::move(unit)), total_(total), start_(seconds_now()) {}
  ~ProgressBar() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `done` of the total, of which `skipped` were done before this process; `note` is shown as it is.
  void update(double done, double skipped, const std::string& note) {
    if (!terminal_) return;
    const double now = seconds_now();
    if (now - last_ < 0.1 && done < total_) return;
    last_ = now;
    const double share = total_ > 0 ? std::clamp(done / total_, 0.0, 1.0) : 1;
    const double rate = (done - skipped) / std::max(now - start_, 1e-9);
    const int left = rate > 0 ? int((total_ - done) / rate + 0.5) : 0;
    const std::size_t full = static_cast<std::size_t>(20 * share);
    const std::string bar = std::string(full, '#') + std::string(20 - full, '-');
    std::fprintf(stderr, "\r\033[K%s [%s] %3.0f%%  %s  %.3g %s/s  %d:%02d left", name_.c_str(), bar.c_str(), 100 * share,
                 note.c_str(), rate, unit_.c_str(), left / 60, left % 60);
    std::fflush(stderr);
    drawn_ = true;
  }

 private:
  std::string name_;
  std::string unit_;
  double total_;
  double start_;
  double last_ = 0;
  bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool drawn_ = false;
};

/// The bar of a training, with its loss as a moving mean.
class StepProgress {
 public:
  /// Steps up to `before` were taken earlier.
  StepProgress(std::string name, Index texts_per_step, Index before, Index last)
      : texts_(double(texts_per_step)), before_(before), bar_(std::move(name), double(last) * texts_) {}

  void update(Index step, double loss) {
    loss_ = is_first_ ? loss : 0.95 * loss_ + 0.05 * loss;
    is_first_ = false;
    char note[48];
    std::snprintf(note, sizeof note, "loss %.3f", loss_);
    bar_.update(double(step) * texts_, double(before_) * texts_, note);
  }
  double loss() const { return loss_; }

 private:
  double texts_, loss_ = 0;
  Index before_;
  bool is_first_ = true;
  ProgressBar bar_;
};

}  // namespace lorasb::examples
