// The page of a result.
import { watchColours } from "./steer_colours.js";

watchColours(document.querySelector(".steered-texts"));
