/* For `make size`: all the memory the reference needs, as one object. */
#include "glasses.h"

extern beheld_glasses beheld_all_of_it;
beheld_glasses beheld_all_of_it;
