#include <lorasb/adapter/adapted_linear.hpp>

lorasb::Index rank_of(const lorasb::LowRankAdapter<float>& adapter) { return adapter.rank(); }
