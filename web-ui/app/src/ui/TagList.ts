// The tags of an object. Their words are text nodes of their own, which are changed in place: a text that
// is an element's whole content is made anew instead, which in long tables costs most of a frame.
import { createTextVNode, h, type FunctionalComponent } from "vue"

const TagList: FunctionalComponent<{ tags: readonly string[] }> = ({ tags }) =>
  tags.map((tag, at) => h("span", { key: at, class: "tag" }, [createTextVNode(tag)]))
TagList.props = ["tags"]

export default TagList
