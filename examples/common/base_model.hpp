// The base model that --model and --pool name.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "examples/common/common_options.hpp"
#include "lorasb/classify/base_model.hpp"
#include "lorasb/classify/module_choice.hpp"

namespace lorasb::examples {

/// Throws ErrorId::model for a folder that holds no model, and what the readers throw.
inline BaseModel read_base_model(const CommonOptions& options, Dtype modules = Dtype::f32, ModelUse use = ModelUse::train) {
  const std::filesystem::path folder = model_folder(options);
  if (is_use_lite(options)) {
    require(std::filesystem::exists(folder / "dist" / "model.json"), ErrorId::model, "--model: \"", folder.string(),
            "\" has no dist/model.json, which use-lite's package has; examples/setup.sh fetches it, LORASB_MODEL_DIR names its folder");
    require(options.pool == models::Pooling::mean, ErrorId::value, "--pool: use-lite has a pooling of its own");
    require(!options.pairs, ErrorId::value, "--pairs: use-lite reads one text; give --model minilm or a Hugging Face folder");
  } else {
    require(std::filesystem::exists(folder / "config.json"), ErrorId::model, "--model: \"", folder.string(),
            "\" holds neither config.json (a Hugging Face folder) nor dist/model.json (the package of use-lite)",
            options.model == "minilm" ? "; examples/setup.sh fetches MiniLM, LORASB_MINILM_DIR names its folder" : "");
  }
  return open_base_model(folder, {.pooling = options.pool,
                                  .modules = modules,
                                  .pairs = options.pairs,
                                  .max_tokens = options.max_tokens,
                                  .name = options.model == "minilm" ? "sentence-transformers/all-MiniLM-L6-v2" : "",
                                  .use = use});
}

/// keep_modules() of --modules, with a note of what was found; nothing for an empty word.
inline void choose_modules(BaseModel& base, const std::string& wanted, std::vector<std::string>& notes) {
  if (wanted.empty()) return;
  const std::size_t all = base.modules.size();
  const std::vector<std::string> names = chosen_modules(wanted, names_of(base.modules), "--modules");
  keep_modules(base, names);
  notes.push_back(concat("adapters on ", names.size(), " of ", all, " linear modules: ", listed(names)));
}

}  // namespace lorasb::examples
