// Which library multiplies, and what the frozen weights are stored in: --backend and --weights.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lorasb/linalg/backend.hpp"
#ifdef LORASB_HAS_ONEDNN
#include "lorasb/onednn/backend.hpp"
#endif

namespace lorasb::examples {

enum class BackendKind { automatic, eigen, onednn };
inline const std::map<std::string, BackendKind> backend_kinds{
    {"auto", BackendKind::automatic}, {"eigen", BackendKind::eigen}, {"onednn", BackendKind::onednn}};

enum class WeightType { f32, bf16 };
inline const std::map<std::string, WeightType> weight_types{{"f32", WeightType::f32}, {"bf16", WeightType::bf16}};
inline std::string_view name_of(WeightType type) { return type == WeightType::f32 ? "f32" : "bf16"; }

#ifdef LORASB_HAS_ONEDNN
inline constexpr bool has_onednn = true;
#else
inline constexpr bool has_onednn = false;
#endif

/// For the whole program; automatic is the fastest that is built in, oneDNN before Eigen.
inline void choose_backend([[maybe_unused]] BackendKind kind) {
#ifdef LORASB_HAS_ONEDNN
  linalg::use_backend(kind == BackendKind::eigen ? nullptr : &onednn::backend());
#endif
}

}  // namespace lorasb::examples
