// The page of a result.
import { watchColours } from "./texts.js";

watchColours(document.getElementById("texts"));
