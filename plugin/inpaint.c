/* plug-in-pentimento-inpaint: the selected part of a layer filled to suit its surroundings and
 * words. The work is edit.c's. */
#include "task.h"

#include <glib/gi18n-lib.h>

const PentimentoTask pentimento_inpaint = {
    .procedure = "plug-in-pentimento-inpaint",
    .name = "inpaint",
    .label = N_("_Fill Selection..."),
    .title = N_("Fill Selection"),
    .blurb = N_("Fill the selected part of a layer to suit its surroundings and a description"),
    .help = N_("Fills the selection with a latent diffusion model, on this computer, so that it "
               "suits what surrounds it and the prompt, which may be empty. Where the selection is "
               "soft, less of the old picture goes; outside it not one pixel changes. The result "
               "is a new layer directly above, with the blend as layer mask, or replaces the "
               "pixels in one undo step. In an indexed image it is mapped to the palette; convert "
               "the image to RGB first for all colours. Asked to learn from the picture, it "
               "first practises on what surrounds the selection; what is selected is not seen. "
               "The layer carries the seed and the "
               "settings (parasite pentimento-settings), and until GIMP is closed the prompts "
               "(pentimento-prompts). Returns the layer and the seed."),
    .icon = "gimp-tool-heal",
    .sensitivity = GIMP_PROCEDURE_SENSITIVE_DRAWABLE | GIMP_PROCEDURE_SENSITIVE_DRAWABLES,
    .edits = true,
    .needs_selection = true,
    .strength = 1.0,
    .run = pentimento_edit_run,
};
