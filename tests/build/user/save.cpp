#include <lorasb/adapter/initialize.hpp>
#include <lorasb/formats/peft_writer.hpp>

void save(const lorasb::LowRankAdapter<float>& adapter, const char* folder) {
  lorasb::AdapterSet<float> adapters;
  adapters.add("layer", adapter);
  lorasb::formats::write_native(folder, adapters);
}
