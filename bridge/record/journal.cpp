#include "bridge/record/journal.h"

#include <sys/stat.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bridge/python/log.h"
#include "ir/printer.h"
#include "support/error.h"

namespace modulize {

namespace {

std::string numbered(std::size_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%03zu", number);
  return text;
}

// By the system's functions: what libstdc++ has compiled in (filesystem, streams) allocates by another operator new
// than ours (python/allocation.cpp).

/// False where there is no such folder afterwards, or where it was there and must be `fresh`.
bool make_one(const std::string& folder, bool fresh) {
  if (mkdir(folder.c_str(), 0777) == 0) return true;
  struct stat found;
  return !fresh && errno == EEXIST && stat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

/// A new folder `001`, `002`, ... in `parent`: preparations of one process and of several have one each.
std::string make_folder(const std::string& parent) {
  const auto fail = [&] {
    throw Error(ErrorCode::ArgumentError,
                "MODULIZE_DUMP names '" + parent + "', where no folder can be made: " + std::strerror(errno));
  };
  for (std::size_t slash = parent.find('/', 1); slash != parent.npos; slash = parent.find('/', slash + 1))
    if (!make_one(parent.substr(0, slash), false)) fail();
  if (!make_one(parent, false)) fail();
  for (std::size_t number = 1;; ++number) {
    std::string folder = parent + "/" + numbered(number);
    if (make_one(folder, true)) return folder;
    if (errno != EEXIST) fail();
  }
}

std::string as_file_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
  return text;
}

std::string as_comment(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return "// " + text + "\n";
}

std::string said(const CaptureCause& cause) {
  return std::string(cause.row().said) + (cause.detail.empty() ? "" : ": " + cause.detail);
}

std::string of_module(const std::string& module) { return module.empty() ? "" : " (of module '" + module + "')"; }

}  // namespace

Journal::Journal() {
  follow_log_settings();
  const char* folder = std::getenv("MODULIZE_DUMP");
  if (folder && *folder) folder_ = make_folder(folder);
}

void Journal::captured(const CaptureCause& cause, const Graph& graph, const std::string& error, double seconds) {
  entries_.push_back({cause, graph.size(), error, seconds});
  const std::string count = std::to_string(graph.size()) + " nodes";
  if (is_logged(LogCategory::capture))
    log(LogCategory::capture, {.what = error.empty() ? count : "ended after " + count + " by " + error,
                               .reason = said(cause) + of_module(cause.module),
                               .round = cause.round,
                               .seconds = seconds});
  dump("capture_" + std::string(cause.row().name), cause.module, error.empty() ? ".mzir" : ".partial.txt",
       as_comment(said(cause) + "; round " + std::to_string(cause.round)) +
           (error.empty() ? "" : as_comment("ended by " + error)),
       graph);
}

void Journal::begin_passes(const std::string& module, const Graph& graph) {
  dump("captured", module, ".mzir", as_comment("what the passes are given"), graph);
}

void Journal::passed(const std::string& module, const PassRun& run, const Graph& graph) {
  if (is_logged(LogCategory::passes))
    log(LogCategory::passes,
        {.what = run.modified ? "changed, now " + std::to_string(graph.size()) + " nodes" : "the same",
         .reason = std::string(run.pass) + of_module(module),
         .seconds = run.seconds});
  dump("pass_" + std::string(run.pass), module, ".mzir", as_comment(run.modified ? "changed" : "the same"), graph);
}

bool Journal::watches_passes() const { return is_logged(LogCategory::passes) || !folder_.empty(); }

void Journal::dump(const std::string& name, const std::string& module, const std::string& ending,
                   const std::string& head, const Graph& graph) {
  if (folder_.empty()) return;
  const std::string file =
      folder_ + "/" + numbered(++files_) + "_" + name + (module.empty() ? "" : "_of_" + as_file_name(module)) + ending;
  const std::string text = head + print(graph);
  std::FILE* out = std::fopen(file.c_str(), "wb");
  bool written = out && std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if (out) written &= std::fclose(out) == 0;
  if (!written && unwritten_.empty()) unwritten_ = file;
}

void Journal::require_written() const {
  if (!unwritten_.empty())
    throw Error(ErrorCode::ArgumentError, "MODULIZE_DUMP: '" + unwritten_ + "' cannot be written");
}

ListOf<Record> Journal::as_list() const {
  nb::list out;
  for (const Entry& entry : entries_) {
    nb::dict made;
    made["reason"] = nb::str(entry.cause.row().said.data(), entry.cause.row().said.size());
    made["detail"] = entry.cause.detail;
    made["module"] = entry.cause.module;
    made["round"] = entry.cause.round;
    made["nodes"] = entry.nodes;
    made["error"] = entry.error;
    made["seconds"] = entry.seconds;
    out.append(made);
  }
  return out;
}

}  // namespace modulize
