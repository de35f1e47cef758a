// How much room there is.
import { ref } from "vue"

const query = matchMedia("(max-width: 800px)")
/** Whether the window is a phone's, or as narrow. */
export const narrow = ref(query.matches)
query.addEventListener("change", () => (narrow.value = query.matches))
