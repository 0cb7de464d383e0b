//! Which file of a folder each row is: for whoever reads the folder by other means.
//!
//! Floor: common.

use super::pack::unpack;
use super::{SampleError, nifti, pictures};
use crate::study::Format;

/// A line for each row of a packed folder of images or volumes, in their order: the image's path in
/// the folder; of a slice its volume's path, a tab, and its number from 0. `None` where rows are those
/// of arrays.
///
/// `segmentation`: the task, by which a folder is laid out.
pub fn row_names(
    format: &Format,
    segmentation: bool,
    bytes: &[u8],
) -> Result<Option<Vec<String>>, Vec<SampleError>> {
    let files = || unpack(bytes).map_err(|error| vec![error]);
    match format {
        Format::Images(_) => {
            let names = pictures::row_files(&files()?, segmentation)?;
            Ok(Some(names.into_iter().map(String::from).collect()))
        }
        Format::Nifti(_) => nifti::row_files(&files()?).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{nifti, packed, png};
    use super::super::{Asked, Samples};
    use super::*;
    use crate::study::{Arrays, Pictures};

    const AS_THEY_ARE: Pictures = Pictures { size: None, gray: None };

    #[test]
    fn images_are_named_in_the_order_of_their_rows() {
        let files =
            [("a/1.png", png(2, 10)), ("b/0.png", png(2, 250)), ("notes.txt", b"x".to_vec())];
        let bytes = packed(&files);
        let format = Format::Images(AS_THEY_ARE);
        let names = row_names(&format, false, &bytes).expect("reads").expect("files");
        assert_eq!(names, ["a/1.png", "b/0.png"]);
        let asked =
            Asked { format: &format, target: "class", segmentation: false, memory: 1 << 20 };
        let samples = Samples::read(&asked, &bytes).expect("reads");
        assert!(samples.features[1] < samples.features[5], "the first row is the dark one");

        let pairs = packed(&[("images/p_1.png", png(2, 9)), ("masks/p_1.png", png(2, 1))]);
        let names = row_names(&format, true, &pairs).expect("reads").expect("files");
        assert_eq!(names, ["images/p_1.png"]);
    }

    #[test]
    fn slices_are_named_by_volume_and_number() {
        let volume = nifti(2, &[0; 12]);
        let bytes = packed(&[("images/p.nii", volume.clone()), ("labels/p.nii", volume)]);
        let format = Format::Nifti(AS_THEY_ARE);
        let names = row_names(&format, true, &bytes).expect("reads").expect("files");
        assert_eq!(names, ["images/p.nii\t0", "images/p.nii\t1"]);
    }

    #[test]
    fn rows_of_arrays_have_no_names() {
        let format = Format::Npz(Arrays { x: "x".into(), tokens: false });
        assert_eq!(row_names(&format, false, b""), Ok(None));
    }
}
