// DepthToSpace: channels become pixels. Every element type but strings; row-major, channels last,
// or in blocks of channels.
#include <algorithm>
#include <array>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/kernels/image_layout.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/parallel.h"
#include "engine/kernels/strided.h"

namespace baton::engine {
namespace {

constexpr size_t kMaxSpatial = 3;

// Input channel `phase` · C + c, or c · P + `phase` where the depth comes first (CRD), is channel c
// of the output's pixels whose position within each of its blocks is `phase`, counted row-major.
struct DepthToSpace {
  std::vector<int64_t> blocks, crop;  // of each spatial dimension; crop: pixels dropped at its end
  bool depth_first = false;
};

struct Move {
  ImageLayout from, to;
  int64_t images, group;  // group: channels that lie together on both sides
  std::array<int64_t, kMaxSpatial> in, out, blocks;
  bool depth_first;
  int threads;
};

template <typename T>
void Run(const Move& m, const T* from, T* to) {
  const int64_t deep = m.blocks[0], high = m.blocks[1], wide = m.blocks[2];
  const int64_t rows = m.images * m.out[0] * m.out[1];
  const int64_t grain = std::max<int64_t>(1, 4096 / (m.out[2] * m.to.channels));
  ParallelFor(m.threads, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t y = row % m.out[1], z = row / m.out[1] % m.out[0];
      const int64_t image = row / m.out[1] / m.out[0];
      const T* const source = from + image * m.from.image_stride() +
                              (z / deep * m.in[1] + y / high) * m.in[2] * m.from.pixel_stride();
      T* const target =
          to + image * m.to.image_stride() + (z * m.out[1] + y) * m.out[2] * m.to.pixel_stride();
      for (int64_t c = 0; c < m.to.channels; c += m.group) {
        for (int64_t x = 0; x < std::min(wide, m.out[2]); ++x) {
          const int64_t phase = (z % deep * high + y % high) * wide + x;
          const int64_t channel =
              m.depth_first ? c * deep * high * wide + phase : phase * m.to.channels + c;
          CopyPixels(source + m.from.Offset(channel), m.from.pixel_stride(),
                     target + m.to.Offset(c) + x * m.to.pixel_stride(), wide * m.to.pixel_stride(),
                     m.group, (m.out[2] - x + wide - 1) / wide);
        }
      }
    }
  });
}

class DepthToSpaceKernel final : public Kernel {
 public:
  explicit DepthToSpaceKernel(DepthToSpace d) : d_(std::move(d)) {}
  bool AcceptsLayouts() const override { return true; }

  absl::StatusOr<std::unique_ptr<Step>> Prepare(PrepareContext& c) const override {
    const Meta x = c.input(0);
    if (x.type == DataType::kString) return absl::UnimplementedError("strings are not supported");
    const size_t spatial = d_.blocks.size();
    int64_t phases = 1;
    for (const int64_t block : d_.blocks) phases *= block;
    if (x.shape.size() != 2 + spatial || x.shape[1] % phases != 0) {
      return absl::InvalidArgumentError(absl::StrCat("input ", ShapeToString(x.shape),
                                                     ", expected rank ", 2 + spatial, " and ",
                                                     "channels that are a multiple of ", phases));
    }
    Shape y = {x.shape[0], x.shape[1] / phases};
    Shape in(kMaxSpatial - spatial, 1), out = in, blocks = in;
    for (size_t i = 0; i < spatial; ++i) {
      y.push_back(std::max<int64_t>(x.shape[2 + i] * d_.blocks[i] - d_.crop[i], 0));
      in.push_back(x.shape[2 + i]);
      out.push_back(y.back());
      blocks.push_back(d_.blocks[i]);
    }
    RETURN_IF_ERROR(CheckedNumElements(y).status());
    Move m;
    m.from = {x.shape[1], in[0] * in[1] * in[2]};
    m.to = {y[1], out[0] * out[1] * out[2]};
    Meta output{x.type, y, std::nullopt};
    if (x.layout && !d_.depth_first && NumElements(y) > 0) {
      if (*x.layout == ChannelsLastLayout(x.type, x.shape)) {
        m.from.together = x.shape[1];
      } else if (*x.layout == ChannelBlockedLayout(x.type, x.shape)) {
        m.from.together = HasAvx512() ? 16 : 8;
      }
    }
    m.group = std::gcd(m.from.together, y[1]);
    if (m.from.together == 1) {
      if (x.layout) RETURN_IF_ERROR(c.SetInputLayout(0, PlainLayout(x.type, x.shape)));
    } else if (m.group == m.from.together) {
      output.layout = ChannelBlockedLayout(x.type, y);
      m.to.together = m.group;
    } else if (y[1] > 1) {  // one channel that lies last is row-major
      output.layout = ChannelsLastLayout(x.type, y);
      m.to.together = y[1];
    }
    c.SetOutput(0, std::move(output));
    if (c.shapes_only()) return nullptr;
    if (NumElements(y) == 0) return MakeStep([](const RunContext&) { return absl::OkStatus(); });
    m.images = y[0];
    std::copy(in.begin(), in.end(), m.in.begin());
    std::copy(out.begin(), out.end(), m.out.begin());
    std::copy(blocks.begin(), blocks.end(), m.blocks.begin());
    m.depth_first = d_.depth_first;
    m.threads = c.ThreadsFor(0, 2.0 * static_cast<double>(x.bytes()));
    return DispatchWidth(x.type, [&m](auto unit) -> std::unique_ptr<Step> {
      using T = decltype(unit);
      return MakeStep([m](const RunContext& r) {
        Run(m, r.input<T>(0), r.output<T>(0));
        return absl::OkStatus();
      });
    });
  }

 private:
  const DepthToSpace d_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeDepthToSpace(const Node& node, const Graph&) {
  DepthToSpace d;
  if (node.domain.empty()) {
    ASSIGN_OR_RETURN(const int64_t block, node.Int("blocksize", 0));
    ASSIGN_OR_RETURN(const std::string mode, node.String("mode", "DCR"));
    if (block < 1 || block > 1 << 15) {
      return absl::InvalidArgumentError(absl::StrCat("blocksize is ", block));
    }
    if (mode != "DCR" && mode != "CRD") {
      return absl::InvalidArgumentError(
          absl::StrCat("mode is \"", mode, "\", expected \"DCR\" or \"CRD\""));
    }
    d.blocks = {block, block};
    d.crop = {0, 0};
    d.depth_first = mode == "CRD";
  } else {
    ASSIGN_OR_RETURN(d.blocks, node.Ints("blocks", {}));
    ASSIGN_OR_RETURN(d.crop, node.Ints("crop", {}));
  }
  return std::make_unique<DepthToSpaceKernel>(std::move(d));
}

}  // namespace baton::engine
