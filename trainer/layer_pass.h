// LayerPass: one layer compiled for one batch size: its primitives and the buffers of its output.
// Layers are chained by Values: what one writes is what the next reads.
#pragma once

#include <memory>

#include "trainer/network.h"
#include "trainer/onednn.h"

namespace baton::trainer {

enum class Purpose { kTraining, kInference };

// A batch of activations, and the loss's gradient with respect to it in the same layout.
struct Value {
  Shape shape;  // [batch, …]
  dnnl::memory data;
  dnnl::memory gradient;  // empty where nobody asks for it: inference, and the network's input
};

class LayerPass {
 public:
  // Compiles `layer` to read `source`; it allocates what output() returns. `layer` must outlive
  // the result: forward reads its parameters as they are then, backward writes their gradients.
  // Throws dnnl::error.
  static std::unique_ptr<LayerPass> Make(const Device& device, Layer& layer, const Value& source,
                                         Purpose purpose);
  virtual ~LayerPass() = default;

  const Value& output() const { return output_; }
  // source.data → output.data
  virtual void Forward(const Device& device) = 0;
  // output.gradient → the parameters' gradients, and source.gradient where there is one. Only
  // after Forward, and for kTraining.
  virtual void Backward(const Device& device) = 0;

 protected:
  Value output_;
};

}  // namespace baton::trainer
