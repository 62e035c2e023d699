/* A component that offers fermyon:spin/variables and knows no variable. Composed with a kitchen it
 * makes a component that a host without Spin's interfaces can run, for comparison. */
#include "novariables.h"

bool exports_fermyon_spin_2_0_0_variables_get(novariables_string_t *name, novariables_string_t *ret,
                                              exports_fermyon_spin_2_0_0_variables_error_t *err)
{
    err->tag = EXPORTS_FERMYON_SPIN_2_0_0_VARIABLES_ERROR_UNDEFINED;
    err->val.undefined = *name;
    return false;
}
