#pragma once

#include <pugixml.hpp>

#include <string>
#include <string_view>

/// Building XML, HTML and SVG as trees, so that whatever a student's program prints is escaped by
/// construction.
namespace grader {

inline void set(pugi::xml_node node, const char* attribute, const std::string& value) {
  node.append_attribute(attribute).set_value(value.c_str());
}

inline void append_text(pugi::xml_node node, const std::string& text) {
  node.append_child(pugi::node_pcdata).set_value(text.c_str());
}

/// Appends <tag class="..."> text </tag>; without a class attribute when `css_class` is empty.
inline pugi::xml_node append_element(pugi::xml_node parent, const char* tag,
                                     const std::string& css_class = "", const std::string& text = "") {
  pugi::xml_node node = parent.append_child(tag);
  if (!css_class.empty()) set(node, "class", css_class);
  if (!text.empty()) append_text(node, text);
  return node;
}

}  // namespace grader
