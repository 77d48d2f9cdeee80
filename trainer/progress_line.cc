#include "trainer/progress_line.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace baton::trainer {
namespace {

constexpr Duration kTerminalInterval = std::chrono::milliseconds(100);
constexpr Duration kLogInterval = std::chrono::seconds(5);
constexpr char kRewrite[] = "\r\x1b[K";  // to the line's start, and clear it

}  // namespace

ProgressLine::ProgressLine(std::ostream& out, bool terminal, const Clock& clock)
    : out_(out),
      terminal_(terminal),
      clock_(clock),
      epoch_start_(clock.Now()),
      last_print_(epoch_start_) {}

ProgressLine::~ProgressLine() {
  if (line_open_) out_ << '\n' << std::flush;
}

void ProgressLine::OnBatch(const Progress& progress) {
  // Reading the data came before the first batch and is not training.
  if (progress.epoch == 1 && progress.batch == 1) epoch_start_ = last_print_ = clock_.Now();
  if (clock_.Now() - last_print_ < (terminal_ ? kTerminalInterval : kLogInterval)) return;
  Print(progress, false);
}

void ProgressLine::OnEpoch(const Progress& progress) {
  Print(progress, true);
  epoch_start_ = last_print_;
}

void ProgressLine::Print(const Progress& progress, bool last_of_epoch) {
  last_print_ = clock_.Now();
  const double seconds = std::max(Seconds(last_print_ - epoch_start_), 1e-9);
  if (terminal_) out_ << kRewrite;
  out_ << absl::StrFormat("epoch %d/%d  batch %d/%d  loss %.4f  accuracy %.2f %%  %.0f images/s",
                          progress.epoch, progress.epochs, progress.batch, progress.batches,
                          progress.score.mean_loss(), 100 * progress.score.accuracy(),
                          static_cast<double>(progress.score.items) / seconds);
  line_open_ = terminal_ && !last_of_epoch;
  if (!line_open_) out_ << '\n';
  out_ << std::flush;
}

}  // namespace baton::trainer
