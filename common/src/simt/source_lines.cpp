#include "source_lines.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

namespace kit::simt::detail {

namespace {

std::mutex& dwarf_mutex() {
  static std::mutex mutex;
  return mutex;
}

// The running program's modules. Opened once: about a millisecond.
Dwfl* open_program() {
  static Dwfl* dwfl = [] {
    static char* debug_path = nullptr;
    static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf,
                                             .find_debuginfo = dwfl_standard_find_debuginfo,
                                             .section_address = nullptr,
                                             .debuginfo_path = &debug_path};
    Dwfl* session = dwfl_begin(&callbacks);
    if (session == nullptr) return session;
    dwfl_linux_proc_report(session, getpid());
    dwfl_report_end(session, nullptr, nullptr);
    return session;
  }();
  return dwfl;
}

std::string demangle(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                    std::free);
  std::string name = status == 0 ? text.get() : mangled;
  // Kernels stand in anonymous namespaces as a rule; saying so helps nobody.
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  for (std::size_t at = name.find(kAnonymous); at != std::string::npos; at = name.find(kAnonymous))
    name.erase(at, kAnonymous.size());
  return name;
}

// "void lab01::copy_kernel<float4>(float4 const*, ...)" becomes "lab01::copy_kernel<float4>".
std::string without_parameters(std::string name) {
  int depth = 0;
  std::size_t end = name.size();
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0 &&
        !std::string_view(name).substr(i).starts_with("(anonymous namespace)")) {
      end = i;
      break;
    }
  }
  name.resize(end);
  depth = 0;
  for (std::size_t i = name.size(); i-- > 0;) {
    if (name[i] == '>') ++depth;
    if (name[i] == '<') --depth;
    if (name[i] == ' ' && depth == 0) return name.substr(i + 1);
  }
  return name;
}

// Lines of these headers are the executor's doing, not the kernel's.
bool is_executor_header(std::string_view file) {
  return file.find("include/kit/simt/") != std::string_view::npos ||
         file.find("include/kit/cuda/") != std::string_view::npos;
}

SourceFrame call_site(Dwarf_Die* cu, Dwarf_Die* inlined) {
  SourceFrame frame;
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  Dwarf_Files* files = nullptr;
  std::size_t n_files = 0;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &value) == 0 &&
      dwarf_getsrcfiles(cu, &files, &n_files) == 0) {
    const char* name = dwarf_filesrc(files, value, nullptr, nullptr);
    if (name != nullptr) frame.file = name;
  }
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &value) == 0)
    frame.line = static_cast<int>(value);
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_column, &attribute), &value) == 0)
    frame.column = static_cast<int>(value);
  return frame;
}

std::string function_name(Dwarf_Die* function) {
  Dwarf_Attribute attribute;
  const char* linkage = dwarf_formstring(dwarf_attr_integrate(function, DW_AT_linkage_name, &attribute));
  if (linkage != nullptr) return without_parameters(demangle(linkage));
  const char* name = dwarf_formstring(dwarf_attr_integrate(function, DW_AT_name, &attribute));
  return name == nullptr ? "" : name;
}

// The functions around an address as they are nested in the code, outermost first: a subprogram, then what
// was inlined. dwarf_getscopes does not look into namespaces, where clang puts its functions.
bool find_scopes(Dwarf_Die* parent, Dwarf_Addr address, std::vector<Dwarf_Die>& scopes) {
  Dwarf_Die die;
  if (dwarf_child(parent, &die) != 0) return false;
  do {
    const int tag = dwarf_tag(&die);
    const bool is_function = tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine;
    if (is_function || tag == DW_TAG_lexical_block) {
      if (dwarf_haspc(&die, address) <= 0) continue;
      if (is_function) scopes.push_back(die);
      find_scopes(&die, address, scopes);
      return true;
    }
    const bool is_container =
        tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type;
    if (is_container && find_scopes(&die, address, scopes)) return true;
  } while (dwarf_siblingof(&die, &die) == 0);
  return false;
}

SourcePlace look_up(std::uintptr_t code_address) {
  SourcePlace result;
  Dwfl* dwfl = open_program();
  Dwfl_Module* module = dwfl == nullptr ? nullptr : dwfl_addrmodule(dwfl, code_address);
  if (module == nullptr) return result;

  SourceFrame frame;
  if (Dwfl_Line* line = dwfl_module_getsrc(module, code_address); line != nullptr) {
    const char* file = dwfl_lineinfo(line, nullptr, &frame.line, &frame.column, nullptr, nullptr);
    if (file != nullptr) frame.file = file;
  }
  Dwarf_Addr bias = 0;
  Dwarf_Die* cu = dwfl_module_addrdie(module, code_address, &bias);
  std::vector<Dwarf_Die> scopes;
  if (cu != nullptr) find_scopes(cu, code_address - bias, scopes);
  bool found = !is_executor_header(frame.file);
  if (found) result.place = frame;
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
    if (found && result.function.empty()) result.function = function_name(&*scope);
    if (dwarf_tag(&*scope) == DW_TAG_subprogram) break;
    frame = call_site(cu, &*scope);
    if (found) {
      result.chain.push_back(frame);
    } else if (!is_executor_header(frame.file)) {
      found = true;
      result.place = frame;
    }
  }
  if (!found) result.place = frame;
  return result;
}

}  // namespace

std::string SourcePlace::to_string() const {
  if (place.file.empty()) return "unknown line (no debug information)";
  const std::string_view file = place.file;
  const auto slash = file.find_last_of('/');
  std::string text = fmt::format("{}:{}:{}", slash == std::string_view::npos ? file : file.substr(slash + 1),
                                 place.line, place.column);
  if (!function.empty()) text += fmt::format(" in {}", function);
  return text;
}

const SourcePlace& find_source(std::uintptr_t code_address) {
  static std::unordered_map<std::uintptr_t, std::unique_ptr<SourcePlace>> cache;
  const std::scoped_lock lock(dwarf_mutex());
  auto& entry = cache[code_address];
  if (entry == nullptr) entry = std::make_unique<SourcePlace>(look_up(code_address));
  return *entry;
}

FunctionName find_function(const void* address) {
  const std::scoped_lock lock(dwarf_mutex());
  Dwfl* dwfl = open_program();
  const auto code_address = reinterpret_cast<std::uintptr_t>(address);
  Dwfl_Module* module = dwfl == nullptr ? nullptr : dwfl_addrmodule(dwfl, code_address);
  const char* name = module == nullptr ? nullptr : dwfl_module_addrname(module, code_address);
  if (name == nullptr) return {.demangled = "a kernel without a name", .mangled = ""};
  return {.demangled = without_parameters(demangle(name)), .mangled = name};
}

const std::vector<ThreadVariable>& thread_variables() {
  static const std::vector<ThreadVariable> variables = [] {
    std::vector<ThreadVariable> found;
    const std::scoped_lock lock(dwarf_mutex());
    Dwfl* dwfl = open_program();
    Dwfl_Module* module = dwfl == nullptr
                              ? nullptr
                              : dwfl_addrmodule(dwfl, reinterpret_cast<std::uintptr_t>(&thread_variables));
    if (module == nullptr) return found;
    const int n_symbols = dwfl_module_getsymtab(module);
    for (int i = 0; i < n_symbols; ++i) {
      GElf_Sym symbol;
      GElf_Addr address = 0;
      const char* name = dwfl_module_getsym_info(module, i, &symbol, &address, nullptr, nullptr, nullptr);
      if (name == nullptr || GELF_ST_TYPE(symbol.st_info) != STT_TLS || symbol.st_size == 0) continue;
      if (symbol.st_shndx == SHN_UNDEF) continue;
      found.push_back({.offset = symbol.st_value, .size = symbol.st_size, .name = name});
    }
    return found;
  }();
  return variables;
}

}  // namespace kit::simt::detail
