#pragma once

#include <fmt/format.h>

#include <pugixml.hpp>
#include <string>

#include "grader/figure.h"
#include "markup.h"

/// What the kinds of figure share.
namespace grader {

inline constexpr const char* kFont = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
inline constexpr const char* kInk = "#1f2933";
inline constexpr const char* kMuted = "#52606d";
inline constexpr const char* kGrid = "#e4e7eb";

inline std::string at(double value) {
  return fmt::format("{:.1f}", value);
}

/// In user units of the viewBox; the page scales the whole.
struct Size {
  double width = 0.0;
  double height = 0.0;
};

/// An <svg> with a white background. `description` is for who cannot see it; may be empty.
inline pugi::xml_node append_svg(pugi::xml_node parent, const std::string& title,
                                 const std::string& description, Size size) {
  pugi::xml_node svg = parent.append_child("svg");
  set(svg, "xmlns", "http://www.w3.org/2000/svg");
  set(svg, "viewBox", fmt::format("0 0 {} {}", size.width, size.height));
  set(svg, "role", "img");
  set(svg, "font-family", kFont);
  append_element(svg, "title", "", title);
  if (!description.empty()) append_element(svg, "desc", "", description);
  pugi::xml_node background = svg.append_child("rect");
  set(background, "width", at(size.width));
  set(background, "height", at(size.height));
  set(background, "fill", "#ffffff");
  return svg;
}

inline pugi::xml_node append_label(pugi::xml_node svg, double x, double y, const char* anchor,
                                   const std::string& text, const char* color = kMuted,
                                   const char* size = "13") {
  pugi::xml_node node = svg.append_child("text");
  set(node, "x", at(x));
  set(node, "y", at(y));
  set(node, "text-anchor", anchor);
  set(node, "fill", color);
  set(node, "font-size", size);
  append_text(node, text);
  return node;
}

inline void append_rule(pugi::xml_node svg, double x1, double y1, double x2, double y2, const char* color,
                        const char* width, const char* dashes = "none") {
  pugi::xml_node node = svg.append_child("line");
  set(node, "x1", at(x1));
  set(node, "y1", at(y1));
  set(node, "x2", at(x2));
  set(node, "y2", at(y2));
  set(node, "stroke", color);
  set(node, "stroke-width", width);
  set(node, "stroke-dasharray", dashes);
}

void append_timeline(pugi::xml_node parent, const Timeline& timeline);

}  // namespace grader
