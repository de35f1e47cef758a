// The page's policy forbids style elements that scripts fill in, which the terminal makes for its
// sizes and colours. While a terminal is there, what is written into such an element goes into a
// constructed style sheet instead: the policy allows these, as no markup can make one. What it writes
// into the attribute of a letter, for true colours and what is selected, goes into its style property.
let users = 0
let original: Document["createElement"] | undefined

export function adoptStyles(document: Document): () => void {
  if (users++ === 0) {
    original = document.createElement.bind(document)
    const make = original
    document.createElement = ((name: string, options?: ElementCreationOptions) => {
      if (name.toLowerCase() === "span") return withoutAttribute(make("span"))
      if (name.toLowerCase() !== "style") return make(name, options)
      // Not even an empty style element may be put into the page; a template is never drawn either.
      const element = make("template")
      redirect(document, element)
      return element
    }) as Document["createElement"]
  }
  return () => {
    if (--users === 0) Reflect.deleteProperty(document, "createElement")
  }
}

function withoutAttribute(element: HTMLElement): HTMLElement {
  const set = element.setAttribute.bind(element)
  element.setAttribute = (name, value) => {
    if (name === "style") element.style.cssText = value
    else set(name, value)
  }
  return element
}

function redirect(document: Document, element: HTMLElement): void {
  const sheet = new CSSStyleSheet()
  document.adoptedStyleSheets.push(sheet)
  let text = ""
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value: string) => {
      text = value
      sheet.replaceSync(value)
    },
  })
  const remove = element.remove.bind(element)
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet)
    remove()
  }
}
