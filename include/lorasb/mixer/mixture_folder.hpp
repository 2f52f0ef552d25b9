// A mixture on disk: a folder of adapter folders, one an expert, with the router beside them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/json.hpp"
#include "lorasb/mixer/mixture.hpp"

namespace lorasb::mixer {

/// A mixture and how its router is to be used.
template <Real S>
struct SavedMixture {
  Mixture<S> mixture;
  RoutingOptions routing = {};
};

namespace detail {

inline constexpr int mixture_version = 1;
inline constexpr std::string_view mixture_file = "mixture.json", router_file = "router.safetensors", expert_folder = "experts";

/// The place of a name in a table, or an error that lists the table.
template <std::size_t N>
std::size_t named(const std::array<std::string_view, N>& names, const std::string& name, const std::string& where) {
  const auto found = std::ranges::find(names, name);
  require(found != names.end(), ErrorId::json, where, ": \"", name, "\" is not known, the first that is known is \"", names[0],
          "\"");
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace detail

/// Adds the adapter folder as a frozen expert: plain LoRA by any writer, or LoRA-SB by lorasb. Throws what
/// formats::read_adapter_folder throws, ErrorId::unknown_name and shape for modules that are not the model's, and what
/// ExpertBank::add throws. A bank over shared bases takes a folder whose B, A and s are these, and ErrorId::value otherwise.
template <Real S>
void load_expert(const std::filesystem::path& folder, std::string name, const std::vector<Module<S>>& modules,
                 ExpertBank<S>& bank) {
  formats::AdapterFolder<S> read = formats::read_adapter_folder<S>(folder, {.plain_lora = true});
  const std::string where = folder.string();
  for (const auto& [module, a] : read.adapters) {
    const auto found = std::ranges::find(modules, module, &Module<S>::name);
    require(found != modules.end(), ErrorId::unknown_name, where, ": has an adapter for module ", in_quotes(module),
            ", but there is no such module in this model");
    require(a.out_features() == found->W0.rows() && a.in_features() == found->W0.cols(), ErrorId::shape, where,
            ": the adapter for ", in_quotes(module), " is ", a.out_features(), " x ", a.in_features(), ", expected ",
            found->W0.rows(), " x ", found->W0.cols(), ", the shape of the module");
  }
  if (bank.shares_bases()) {
    NamedSet<Weight<S>> cores;
    for (auto& [module, a] : read.adapters) {
      const AdapterBasis<S>* const basis = bank.bases().find(module);
      require(basis != nullptr && basis->B.rows() == a.B.rows() && basis->A.rows() == a.A.rows() && basis->B == a.B &&
                  basis->A == a.A && basis->scale == a.scale,
              ErrorId::value, where, ": the basis of module ", in_quotes(module), " is not the one that the experts share");
      cores.add(module, std::move(a.R));
    }
    bank.add_cores(name, std::move(cores));
  } else if (read.plain_lora) {
    NamedSet<LoraAdapter<S>> factors;
    for (auto& [module, a] : read.adapters) factors.add(module, {.B = std::move(a.B), .A = std::move(a.A), .scale = a.scale});
    bank.add(name, factors);
  } else {
    bank.add(name, std::move(read.adapters));
  }
  bank.freeze(name);
}

/// Writes FOLDER/mixture.json, FOLDER/router.safetensors and FOLDER/experts/<name>, each an adapter folder that other programs
/// read too (cores repeat the shared bases). The mixture is whole (with_values). Throws ErrorId::value, file_write, and what
/// the writers of adapter folders throw.
template <Real S>
void write_mixture(const std::filesystem::path& folder, const Mixture<S>& mixture, const RoutingOptions& routing) {
  routing.validate(mixture.bank.size());
  io::OrderedJson json = io::OrderedJson::object();
  json.add("format", "lorasb-mixture");
  json.add("version", detail::mixture_version);
  json.add("shared_bases", mixture.bank.shares_bases());
  json.add("router_input", router_input_names[std::size_t(mixture.input)]);
  json.add("trains_router", mixture.trains_router);
  json.add("groups", mixture.groups);
  io::OrderedJson& how = json.add("routing", io::OrderedJson::object());
  how.add("mode", routing_names[std::size_t(*routing.mode)]);
  how.add("k", routing.k);
  how.add("renormalise", routing.renormalise);
  how.add("temperature", routing.temperature);
  io::OrderedJson& experts = json.add("experts", io::OrderedJson::array());
  for (const Expert<S>& expert : mixture.bank.experts()) {
    const std::filesystem::path to = folder / detail::expert_folder / expert.name;
    if (expert.kind == ExpertKind::lora) {
      NamedSet<LoraAdapter<S>> adapters;
      for (const auto& [module, a] : expert.adapters) adapters.add(module, {.B = a.B, .A = a.A, .scale = a.scale});
      formats::write_lora<S>(to, adapters);
    } else {
      AdapterSet<S> adapters = expert.adapters;
      if (mixture.bank.shares_bases())
        for (auto& [module, a] : adapters) {
          const AdapterBasis<S>& basis = mixture.bank.bases().at(module);
          a = {.B = basis.B, .R = a.R, .A = basis.A, .scale = basis.scale};
        }
      formats::write_native<S>(to, adapters);
    }
    io::OrderedJson& entry = experts.add(io::OrderedJson::object());
    entry.add("name", expert.name);
    entry.add("frozen", expert.frozen);
    entry.add("protected", expert.kept_near_start);
  }
  std::vector<io::TensorBytes> routers;
  for (const auto& [module, G] : mixture.routers) {
    require_finite(G, "write_mixture", "the router of ", in_quotes(module));
    routers.push_back(io::tensor_bytes(module + std::string(suffix_of(Role::router)), G));
  }
  io::write_safetensors(folder / detail::router_file, std::move(routers));
  io::write_file(folder / detail::mixture_file, json.text(1) + "\n");  // last: it says that there is a mixture
}

/// The same bits as were written. Throws ErrorId::file_open and json for a folder that is none, ErrorId::adapter_folder for
/// another format or version, tensor_missing and tensor_mismatch for a router that does not fit, and what load_expert throws.
template <Real S>
SavedMixture<S> read_mixture(const std::filesystem::path& folder, const std::vector<Module<S>>& modules) {
  using formats::detail::field;
  const std::filesystem::path path = folder / detail::mixture_file;
  const std::string where = path.string();
  const auto json = io::read_json<io::OrderedJson>(path);
  require(json.is_object(), ErrorId::json, where, ": is no object");
  const std::string format = field<std::string>(json, "format", where);
  const double version = field<double>(json, "version", where);
  require(format == "lorasb-mixture" && version == detail::mixture_version, ErrorId::adapter_folder, where, ": is of format \"",
          format, "\", version ", version, ", expected \"lorasb-mixture\", version ", detail::mixture_version);
  const auto experts = field<io::OrderedJson>(json, "experts", where);
  require(experts.is_array() && !experts.items().empty(), ErrorId::adapter_folder, where, ": there are no experts");
  const auto folder_of = [&](const io::OrderedJson& expert) {
    const std::string name = field<std::string>(expert, "name", where);
    require(name.find_first_of("./\\") == std::string::npos, ErrorId::adapter_folder, where, ": ", in_quotes(name),
            " is no name of an expert");  // a file must not lead out of its folder
    return folder / detail::expert_folder / name;
  };
  SavedMixture<S> saved;
  Mixture<S>& mixture = saved.mixture;
  if (field<bool>(json, "shared_bases", where)) {
    AdapterBases<S> bases;
    for (auto& [module, a] : formats::read_adapter_folder<S>(folder_of(experts.items().front())).adapters)
      bases.add(module, {.B = std::move(a.B), .A = std::move(a.A), .scale = a.scale});
    mixture.bank = ExpertBank<S>(std::move(bases));
  }
  for (const io::OrderedJson& expert : experts.items()) {
    const std::string name = field<std::string>(expert, "name", where);
    load_expert<S>(folder_of(expert), name, modules, mixture.bank);
    mixture.bank.freeze(name, field<bool>(expert, "frozen", where));
    mixture.bank.protect(name, field<bool>(expert, "protected", where));
  }
  mixture = make_mixture(std::move(mixture.bank),
                         RouterInput(detail::named(router_input_names, field<std::string>(json, "router_input", where), where)),
                         field<std::vector<std::vector<std::string>>>(json, "groups", where));
  mixture.trains_router = field<bool>(json, "trains_router", where);
  const io::SafetensorsFile file(folder / detail::router_file);
  for (auto& [module, G] : mixture.routers) {
    const std::string tensor = module + std::string(suffix_of(Role::router));
    const Weight<S> read = file.template read_weight<S>(tensor);
    require(read.rows() == G.rows() && read.cols() == G.cols(), ErrorId::tensor_mismatch, file.path().string(), ": \"", tensor,
            "\" is ", read.rows(), " x ", read.cols(), ", expected ", G.rows(), " x ", G.cols(), " (experts x inputs)");
    require_finite(read, file.path().string(), tensor);
    G = read;
  }
  const auto routing = field<io::OrderedJson>(json, "routing", where);
  saved.routing = {.mode = RoutingMode(detail::named(routing_names, field<std::string>(routing, "mode", where), where)),
                   .k = field<Index>(routing, "k", where),
                   .renormalise = field<bool>(routing, "renormalise", where),
                   .temperature = field<double>(routing, "temperature", where)};
  saved.routing.validate(mixture.bank.size());
  return saved;
}

}  // namespace lorasb::mixer
