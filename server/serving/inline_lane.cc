#include "server/serving/inline_lane.h"

#include <algorithm>

namespace baton::serving {

void InlineLane::Add(std::shared_ptr<WorkSource> source) {
  ++tasks_;
  if (std::find(sources_.begin(), sources_.end(), source) == sources_.end()) {
    sources_.push_back(std::move(source));
  }
}

void InlineLane::Run() {
  tasks_ = 0;
  running_.swap(sources_);
  for (const std::shared_ptr<WorkSource>& source : running_) {
    while (true) {
      Batch batch = source->Take(/*idle_workers=*/0);
      if (batch.tasks.empty() && batch.dropped.empty()) break;
      source->Run(std::move(batch), /*alone=*/false, *executor_);
    }
  }
  running_.clear();
}

}  // namespace baton::serving
